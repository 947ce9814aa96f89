"""The books of the library."""

import re

from lending.errors import InvalidValue, LendingError, NotFound
from lending.records import Book


class Catalog:
    """Holds the books by number."""

    def __init__(self, books=()):
        self._books = {book.number: book for book in books}

    def __len__(self):
        return len(self._books)

    def __iter__(self):
        return iter(sorted(self._books.values(), key=lambda book: book.number))

    def add(self, title, author, year=None, isbn="", copies=1, tags=()):
        """Add a book and return it."""
        title, author = title.strip(), author.strip()
        if not title or not author:
            raise InvalidValue("A book needs a title and an author.")
        if copies < 1:
            raise InvalidValue("A book needs at least one copy.")
        isbn = clean_isbn(isbn)
        if isbn and any(book.isbn == isbn for book in self):
            raise LendingError(f"There is a book with the ISBN {isbn} already.")
        number = max(self._books, default=0) + 1
        book = Book(number, title, author, year, isbn, copies, sorted(set(tags)))
        self._books[number] = book
        return book

    def get(self, number):
        """Return a book by its number."""
        if number not in self._books:
            raise NotFound("book", number)
        return self._books[number]

    def remove(self, number):
        """Take a book out of the catalog and return it."""
        book = self.get(number)
        del self._books[number]
        return book

    def by_isbn(self, isbn):
        """Return the book with an ISBN, or None."""
        wanted = clean_isbn(isbn)
        return next((book for book in self if book.isbn == wanted), None)

    def tag(self, number, *tags):
        """Add tags to a book."""
        book = self.get(number)
        book.tags = sorted({*book.tags, *(tag.strip().lower() for tag in tags if tag.strip())})
        return book

    def tagged(self, tag):
        """List the books with a tag."""
        return [book for book in self if tag.lower() in book.tags]

    def authors(self):
        """Return the authors and how many titles there are of each, in the order of the alphabet."""
        counts = {}
        for book in self:
            counts[book.author] = counts.get(book.author, 0) + 1
        return dict(sorted(counts.items()))


def clean_isbn(text):
    """Return an ISBN without dashes and spaces; raise InvalidValue if it cannot be one."""
    plain = re.sub(r"[\s-]", "", text).upper()
    if not plain:
        return ""
    if re.fullmatch(r"\d{9}[\dX]", plain):
        digits = [10 if char == "X" else int(char) for char in plain]
        if sum(digit * (10 - place) for place, digit in enumerate(digits)) % 11 == 0:
            return plain
    elif re.fullmatch(r"\d{13}", plain):
        if sum(int(char) * (3 if place % 2 else 1) for place, char in enumerate(plain)) % 10 == 0:
            return plain
    raise InvalidValue(f"{text!r} is not an ISBN.")
