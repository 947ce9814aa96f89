"""The desk: where books are lent and come back."""

from lending.errors import InvalidValue, LendingError, LimitReached, NotAvailable, NotFound
from lending.records import Loan

LOAN_DAYS = 21
MOST_LOANS = {"normal": 5, "student": 10, "staff": 20}
MOST_OWED = 500
"""Cents; who owes more may not borrow."""


class Desk:
    """Lends books and takes them back."""

    def __init__(self, catalog, members, calendar, rules, loans=()):
        self.catalog = catalog
        self.members = members
        self.calendar = calendar
        self.rules = rules
        self.loans = list(loans)

    def lend(self, book_number, member_number, today):
        """Lend a copy of a book to a member and return the loan."""
        book = self.catalog.get(book_number)
        member = self.members.get(member_number)
        if not member.active:
            raise LendingError(f"The account of {member.name} is closed.")
        if self.open_loan(book_number, member_number) is not None:
            raise LendingError(f"{member.name} has this book already.")
        if self.available(book_number) < 1:
            raise NotAvailable(f"All copies of {book.title} are lent out.")
        if len(self.open_loans(member=member_number)) >= MOST_LOANS[member.level]:
            raise LimitReached(f"{member.name} may not borrow more than {MOST_LOANS[member.level]} books.")
        if self.owed(member_number, today) > MOST_OWED:
            raise LimitReached(f"{member.name} has to pay the fines first.")
        number = max((loan.number for loan in self.loans), default=0) + 1
        loan = Loan(number, book_number, member_number, today, self.calendar.due_date(today, LOAN_DAYS))
        self.loans.append(loan)
        return loan

    def take_back(self, book_number, member_number, today):
        """Take a book back and return the loan, with its fine."""
        loan = self.open_loan(book_number, member_number)
        if loan is None:
            raise NotFound("open loan of book", book_number)
        if today < loan.lent:
            raise InvalidValue("A book cannot come back before it was lent.")
        loan.returned = today
        loan.fine = self.rules.fine(loan, self.members.get(member_number).level, today)
        return loan

    def pay(self, member_number, cents):
        """Take money for fines, the oldest loan first, and return what is left over."""
        if cents <= 0:
            raise InvalidValue("The amount must be positive.")
        self.members.get(member_number)
        for loan in self.loans:
            if loan.member == member_number and loan.owed > 0:
                part = min(cents, loan.owed)
                loan.paid += part
                cents -= part
        return cents

    def loan(self, number):
        """Return a loan by its number."""
        for loan in self.loans:
            if loan.number == number:
                return loan
        raise NotFound("loan", number)

    def open_loan(self, book_number, member_number):
        """Return the open loan of a book by a member, or None."""
        found = [loan for loan in self.open_loans(book=book_number) if loan.member == member_number]
        return found[0] if found else None

    def open_loans(self, book=None, member=None):
        """List the open loans, of a book or a member if one is given."""
        return [
            loan
            for loan in self.loans
            if loan.is_open and book in (None, loan.book) and member in (None, loan.member)
        ]

    def available(self, book_number):
        """Return how many copies of a book are not lent out."""
        return self.catalog.get(book_number).copies - len(self.open_loans(book=book_number))

    def owed(self, member_number, today):
        """Return what a member owes on a day: fines of returned books, and of late ones so far."""
        level = self.members.get(member_number).level
        total = 0
        for loan in self.loans:
            if loan.member == member_number:
                total += loan.owed if not loan.is_open else self.rules.fine(loan, level, today)
        return total

    def overdue(self, today):
        """List the open loans that are late on a day, the latest first."""
        late = [loan for loan in self.open_loans() if loan.days_late(today) > 0]
        return sorted(late, key=lambda loan: (loan.due, loan.number))
