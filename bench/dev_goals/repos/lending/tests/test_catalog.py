import pytest

from lending.catalog import Catalog, clean_isbn
from lending.errors import InvalidValue, LendingError, NotFound


def test_books_are_numbered():
    catalog = Catalog()
    assert catalog.add("Emma", "Jane Austen").number == 1
    assert catalog.add("Ulysses", "James Joyce").number == 2
    assert [book.title for book in catalog] == ["Emma", "Ulysses"]


def test_a_book_needs_title_author_and_copies():
    for values in (("", "Joyce"), ("Emma", " ")):
        with pytest.raises(InvalidValue):
            Catalog().add(*values)
    with pytest.raises(InvalidValue):
        Catalog().add("Emma", "Austen", copies=0)


def test_isbn_is_checked_and_unique():
    assert clean_isbn("0-306-40615-2") == "0306406152"
    assert clean_isbn("978-0-306-40615-7") == "9780306406157"
    with pytest.raises(InvalidValue):
        clean_isbn("0-306-40615-3")
    catalog = Catalog()
    catalog.add("A", "B", isbn="0306406152")
    assert catalog.by_isbn("0-306-40615-2").title == "A"
    with pytest.raises(LendingError):
        catalog.add("C", "D", isbn="0-306-40615-2")


def test_unknown_books_are_not_found():
    with pytest.raises(NotFound, match="There is no book 7"):
        Catalog().get(7)


def test_tags():
    catalog = Catalog()
    catalog.add("Emma", "Austen", tags=["novel"])
    catalog.tag(1, "Classic ", "")
    assert catalog.get(1).tags == ["classic", "novel"]
    assert catalog.tagged("CLASSIC") == [catalog.get(1)]


def test_authors_are_counted():
    catalog = Catalog()
    for title, author in (("Emma", "Austen"), ("Ulysses", "Joyce"), ("Persuasion", "Austen")):
        catalog.add(title, author)
    assert catalog.authors() == {"Austen": 2, "Joyce": 1}
