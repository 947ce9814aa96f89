"""Finding books by words."""

import re

FIELDS = ("title", "author", "tags")
WEIGHTS = {"title": 3, "author": 2, "tags": 1}


def words_of(text):
    """Split a text into words in lower case."""
    return re.findall(r"\w+", text.lower())


def text_of(book, field):
    """Return one field of a book as text."""
    value = getattr(book, field)
    return " ".join(value) if isinstance(value, list) else str(value)


def score(book, query, fields=FIELDS):
    """Return how well a book fits what is looked for: 0 if it does not."""
    wanted = " ".join(words_of(query))
    if not wanted:
        return 0
    total = 0
    for field in fields:
        if wanted in " ".join(words_of(text_of(book, field))):
            total += WEIGHTS[field]
    return total


def search(books, query, fields=FIELDS):
    """List the books that fit, the best first, equal ones by title."""
    for field in fields:
        if field not in FIELDS:
            raise ValueError(f"cannot search in {field!r}")
    scored = [(score(book, query, fields), book) for book in books]
    found = [(points, book) for points, book in scored if points]
    return [book for points, book in sorted(found, key=lambda pair: (-pair[0], pair[1].title, pair[1].number))]


def suggestions(books, query, most=3):
    """Suggest titles that share the first letters of a query with no result."""
    start = query.strip().lower()[:3]
    titles = sorted({book.title for book in books if start and book.title.lower().startswith(start)})
    return titles[:most]


def similar(books, book, most=5):
    """List other books by the same author or with the same tags, those with most in common first."""
    def shared(other):
        return (3 if other.author == book.author else 0) + len(set(other.tags) & set(book.tags))

    others = [other for other in books if other.number != book.number and shared(other)]
    return sorted(others, key=lambda other: (-shared(other), other.title))[:most]
