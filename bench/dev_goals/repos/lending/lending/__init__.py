"""The books, members and loans of a small library."""

from lending.errors import LendingError
from lending.library import Library

__all__ = ["LendingError", "Library"]
