from datetime import date

import pytest

from lending.calendar import Calendar, parse_day

SATURDAY, SUNDAY, MONDAY = date(2024, 6, 1), date(2024, 6, 2), date(2024, 6, 3)


def test_sundays_and_holidays_are_closed():
    calendar = Calendar([MONDAY])
    assert calendar.is_open(SATURDAY)
    assert not calendar.is_open(SUNDAY)
    assert not calendar.is_open(MONDAY)


def test_due_dates_are_open_days():
    assert Calendar().due_date(date(2024, 5, 12), 21) == MONDAY
    assert Calendar([MONDAY]).due_date(date(2024, 5, 12), 21) == date(2024, 6, 4)


def test_open_days_between_leaves_out_the_first_day():
    assert Calendar().open_days_between(SATURDAY, SATURDAY) == 0
    assert Calendar().open_days_between(SATURDAY, MONDAY) == 1


def test_parse_day_says_what_is_wrong():
    assert parse_day("2024-06-01") == SATURDAY
    with pytest.raises(ValueError, match="not a date"):
        parse_day("yesterday")
