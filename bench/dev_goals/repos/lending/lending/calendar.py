"""Opening days of the library, and dates that depend on them."""

from datetime import date, timedelta

CLOSED_WEEKDAYS = (6,)
"""Sunday."""


class Calendar:
    """Knows on which days the library is open."""

    def __init__(self, holidays=(), closed_weekdays=CLOSED_WEEKDAYS):
        self.holidays = set(holidays)
        self.closed_weekdays = set(closed_weekdays)

    def is_open(self, day):
        """Tell whether the library is open on a day."""
        return day.weekday() not in self.closed_weekdays and day not in self.holidays

    def next_open_day(self, day):
        """Return the day itself if the library is open on it, else the next one on which it is."""
        if len(self.closed_weekdays) == 7:
            raise ValueError("the library is never open")
        while not self.is_open(day):
            day += timedelta(days=1)
        return day

    def due_date(self, lent, days):
        """Return when a book is due that is lent for some days: on an open day."""
        return self.next_open_day(lent + timedelta(days=days))

    def open_days_between(self, first, last):
        """Count the open days after `first`, up to and with `last`."""
        count = 0
        day = first + timedelta(days=1)
        while day <= last:
            if self.is_open(day):
                count += 1
            day += timedelta(days=1)
        return count


def parse_day(text):
    """Read a date like 2024-05-31; raise ValueError with a clear message if it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a date like 2024-05-31") from None
