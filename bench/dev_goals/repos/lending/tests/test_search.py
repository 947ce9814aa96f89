import pytest

from lending.catalog import Catalog
from lending.search import search, similar, suggestions


@pytest.fixture
def catalog():
    catalog = Catalog()
    catalog.add("The Sea", "John Banville", tags=["novel", "ireland"])
    catalog.add("The Sea, the Sea", "Iris Murdoch", tags=["novel"])
    catalog.add("Ulysses", "James Joyce", tags=["ireland", "novel"])
    catalog.add("Seamus Heaney", "Helen Vendler", tags=["poetry", "sea"])
    return catalog


def titles(books):
    return [book.title for book in books]


def test_titles_count_more_than_tags(catalog):
    assert titles(search(catalog, "sea")) == ["Seamus Heaney", "The Sea", "The Sea, the Sea"]


def test_nothing_looked_for_is_nothing_found(catalog):
    assert search(catalog, "  ") == []
    assert search(catalog, "zebra") == []


def test_search_in_one_field(catalog):
    assert titles(search(catalog, "ireland", fields=("tags",))) == ["The Sea", "Ulysses"]
    with pytest.raises(ValueError):
        search(catalog, "x", fields=("year",))


def test_suggestions_share_the_first_letters(catalog):
    assert suggestions(catalog, "ulyses") == ["Ulysses"]
    assert suggestions(catalog, "") == []


def test_similar_books(catalog):
    assert titles(similar(catalog, catalog.get(1))) == ["Ulysses", "The Sea, the Sea"]
