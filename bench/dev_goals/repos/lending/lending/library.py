"""Everything put together: a library over one file."""

from datetime import date

from lending import storage
from lending.calendar import Calendar
from lending.catalog import Catalog
from lending.desk import Desk
from lending.errors import LendingError
from lending.fines import FineRules
from lending.members import Members


class Library:
    """The catalog, the members and the desk, loaded from a file and saved to it."""

    def __init__(self, path, today=None):
        self.path = str(path)
        self._today = today
        data = storage.load(self.path)
        self.calendar = Calendar(data["holidays"])
        self.catalog = Catalog(data["books"])
        self.members = Members(data["members"])
        self.desk = Desk(self.catalog, self.members, self.calendar, FineRules(self.calendar), data["loans"])

    @property
    def today(self):
        """The day on which things happen: today, unless another one was given."""
        return self._today or date.today()

    def save(self):
        """Write everything to the file."""
        storage.save(self.path, self.catalog, self.members, self.desk.loans, self.calendar.holidays)

    def lend(self, book, member):
        """Lend a book to a member, by their numbers."""
        return self.desk.lend(book, member, self.today)

    def take_back(self, book, member):
        """Take a book back from a member."""
        return self.desk.take_back(book, member, self.today)

    def remove_book(self, number):
        """Remove a book that nobody has at home."""
        if self.desk.open_loans(book=number):
            raise LendingError("A book that is lent out cannot be removed.")
        if any(loan.book == number for loan in self.desk.loans):
            raise LendingError("A book that was ever lent stays in the catalog.")
        return self.catalog.remove(number)

    def close_account(self, number):
        """Close the account of a member who has no books and owes nothing."""
        if self.desk.open_loans(member=number):
            raise LendingError("The member still has books.")
        if self.desk.owed(number, self.today) > 0:
            raise LendingError("The member still has to pay.")
        return self.members.close(number)
