from datetime import date, timedelta

import pytest

from lending.calendar import Calendar
from lending.catalog import Catalog
from lending.desk import Desk
from lending.errors import InvalidValue, LendingError, LimitReached, NotAvailable, NotFound
from lending.fines import FineRules
from lending.members import Members

TODAY = date(2024, 5, 6)


@pytest.fixture
def desk():
    catalog, members, calendar = Catalog(), Members(), Calendar()
    for number in range(8):
        catalog.add(f"Book {number}", "Author")
    members.add("Ann", "ann@example.org", TODAY)
    members.add("Bob", "bob@example.org", TODAY, "student")
    return Desk(catalog, members, calendar, FineRules(calendar))


def test_a_loan_is_due_three_weeks_later(desk):
    loan = desk.lend(1, 1, TODAY)
    assert loan.due == date(2024, 5, 27)
    assert desk.available(1) == 0


def test_a_book_is_lent_once_per_copy(desk):
    desk.lend(1, 1, TODAY)
    with pytest.raises(NotAvailable):
        desk.lend(1, 2, TODAY)
    with pytest.raises(LendingError, match="already"):
        desk.lend(1, 1, TODAY)


def test_nobody_borrows_without_end(desk):
    for number in range(1, 6):
        desk.lend(number, 1, TODAY)
    with pytest.raises(LimitReached):
        desk.lend(6, 1, TODAY)


def test_a_late_book_costs(desk):
    loan = desk.lend(1, 1, TODAY)
    desk.take_back(1, 1, loan.due + timedelta(days=4))
    assert loan.fine == 60
    assert desk.owed(1, TODAY) == 60
    assert desk.pay(1, 100) == 40
    assert desk.owed(1, TODAY) == 0


def test_who_owes_much_does_not_borrow(desk):
    loan = desk.lend(1, 1, TODAY)
    with pytest.raises(LimitReached, match="pay"):
        desk.lend(2, 1, loan.due + timedelta(days=60))


def test_a_book_comes_back_from_who_has_it(desk):
    desk.lend(1, 1, TODAY)
    with pytest.raises(NotFound):
        desk.take_back(1, 2, TODAY)
    with pytest.raises(InvalidValue):
        desk.take_back(1, 1, TODAY - timedelta(days=1))
    assert not desk.take_back(1, 1, TODAY).is_open


def test_overdue_loans_come_latest_first(desk):
    first = desk.lend(1, 1, TODAY)
    second = desk.lend(2, 1, TODAY + timedelta(days=1))
    assert desk.overdue(first.due) == []
    assert desk.overdue(second.due + timedelta(days=3)) == [first, second]
