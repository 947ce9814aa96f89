"""What can go wrong for a user."""


class LendingError(Exception):
    """Something that a user asked for cannot be done; the message says why."""


class NotFound(LendingError):
    """There is no book, member or loan with this number."""

    def __init__(self, kind, number):
        super().__init__(f"There is no {kind} {number}.")
        self.kind = kind
        self.number = number


class NotAvailable(LendingError):
    """All copies of a book are lent out."""


class LimitReached(LendingError):
    """A member may not borrow more."""


class InvalidValue(LendingError):
    """A value that was given cannot be used."""
