"""Books, members and loans."""

from dataclasses import dataclass, field
from datetime import date
from typing import Optional


@dataclass
class Book:
    """A title, of which the library has some copies."""

    number: int
    title: str
    author: str
    year: Optional[int] = None
    isbn: str = ""
    copies: int = 1
    tags: list = field(default_factory=list)

    def label(self):
        """Return the book as one line of text."""
        year = f" ({self.year})" if self.year else ""
        return f"{self.number}. {self.title}, {self.author}{year}"


@dataclass
class Member:
    """Somebody who may borrow books."""

    number: int
    name: str
    email: str
    joined: date
    level: str = "normal"
    active: bool = True

    def label(self):
        """Return the member as one line of text."""
        closed = "" if self.active else " [closed]"
        return f"{self.number}. {self.name} <{self.email}>{closed}"


@dataclass
class Loan:
    """A copy of a book in the hands of a member."""

    number: int
    book: int
    member: int
    lent: date
    due: date
    returned: Optional[date] = None
    fine: int = 0
    paid: int = 0

    @property
    def is_open(self):
        """Whether the book has not come back yet."""
        return self.returned is None

    @property
    def owed(self):
        """What is still to be paid, in cents."""
        return self.fine - self.paid

    def days_late(self, today):
        """Return by how many days the loan is late on a day, or was late when it came back."""
        end = self.returned or today
        return max(0, (end - self.due).days)
