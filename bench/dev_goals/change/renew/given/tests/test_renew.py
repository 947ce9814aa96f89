from datetime import date, timedelta

import pytest

from lending.errors import LendingError, LimitReached, NotFound
from lending.library import Library

TODAY = date(2024, 5, 6)


@pytest.fixture
def desk(tmp_path):
    library = Library(tmp_path / "library.json", TODAY)
    library.catalog.add("Emma", "Jane Austen")
    library.members.add("Ann", "ann@example.org", TODAY)
    library.lend(1, 1)
    return library.desk


def test_renewed_loans_are_due_later(desk):
    loan = desk.renew(1, 1, TODAY + timedelta(days=7))
    assert loan.due == date(2024, 6, 3)
    assert loan.renewals == 1


def test_loans_are_renewed_twice_at_most(desk):
    desk.renew(1, 1, TODAY)
    desk.renew(1, 1, TODAY)
    with pytest.raises(LimitReached):
        desk.renew(1, 1, TODAY)


def test_late_loans_are_not_renewed(desk):
    with pytest.raises(LendingError):
        desk.renew(1, 1, date(2024, 5, 28))


def test_only_what_is_lent_is_renewed(desk):
    with pytest.raises(NotFound):
        desk.renew(1, 2, TODAY)
