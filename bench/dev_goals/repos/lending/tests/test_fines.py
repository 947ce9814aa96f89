from datetime import date

import pytest

from lending.calendar import Calendar
from lending.errors import InvalidValue
from lending.fines import FineRules, shown
from lending.records import Loan


@pytest.fixture
def rules():
    return FineRules(Calendar())


def loan(returned=None):
    return Loan(1, 1, 1, date(2024, 5, 6), date(2024, 5, 27), returned)


def test_in_time_costs_nothing(rules):
    assert rules.fine(loan(date(2024, 5, 27)), "normal", date(2024, 7, 1)) == 0


def test_the_first_day_is_free_and_sundays_do_not_count(rules):
    assert rules.fine(loan(date(2024, 5, 28)), "normal", date(2024, 7, 1)) == 0
    assert rules.fine(loan(date(2024, 6, 3)), "normal", date(2024, 7, 1)) == 5 * 20


def test_there_is_a_most(rules):
    assert rules.fine(loan(), "normal", date(2025, 5, 27)) == 1000


def test_students_pay_half(rules):
    assert rules.fine(loan(date(2024, 6, 3)), "student", date(2024, 7, 1)) == 50


def test_levels_are_known(rules):
    with pytest.raises(InvalidValue):
        rules.discounted(100, "king")


def test_amounts_are_shown_with_two_digits():
    assert [shown(cents) for cents in (0, 5, 1250, -70)] == ["0.00", "0.05", "12.50", "-0.70"]
