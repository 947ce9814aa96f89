from lending.catalog import Catalog
from lending.search import search

catalog = Catalog()
catalog.add("The Sea", "John Banville", tags=["novel", "ireland"])
catalog.add("The Sea, the Sea", "Iris Murdoch", tags=["novel"])
catalog.add("Ulysses", "James Joyce", tags=["ireland", "novel"])
catalog.add("Seamus Heaney", "Helen Vendler", tags=["poetry", "sea"])
catalog.add("Germinal", "Émile Zola")


def titles(query, **options):
    return [book.title for book in search(catalog, query, **options)]


assert titles("banville sea") == ["The Sea"] and titles("SEA John") == ["The Sea"]
assert titles("novel ireland") == titles("ireland novel") == ["The Sea", "Ulysses"]
assert titles("emile") == titles("Émile") == titles("ÉMILE germinal") == ["Germinal"]
assert titles("sea") == ["Seamus Heaney", "The Sea", "The Sea, the Sea"]
assert titles("sea zebra") == [] and titles("  ") == [] and titles("emi germ") == ["Germinal"]
assert titles("ireland john", fields=("tags",)) == []
