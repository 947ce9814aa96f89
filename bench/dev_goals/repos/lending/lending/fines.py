"""What late books cost. Money is in whole cents."""

from lending.errors import InvalidValue

RATE = 20
"""Cents for each open day."""
MOST = 1000
"""Cents for one loan at most."""
GRACE_DAYS = 1
"""Open days that cost nothing."""

DISCOUNTS = {"normal": 0, "student": 50, "staff": 100}
"""Percent that members of a level need not pay."""


class FineRules:
    """Works out fines."""

    def __init__(self, calendar, rate=RATE, most=MOST, grace_days=GRACE_DAYS):
        if rate < 0 or most < 0 or grace_days < 0:
            raise InvalidValue("Fines cannot be negative.")
        self.calendar = calendar
        self.rate = rate
        self.most = most
        self.grace_days = grace_days

    def fine(self, loan, level, today):
        """Return the fine of a loan on a day: open days beyond the grace days, with the discount of the level.

        The discount is taken from what is due in the end, that is, after the most that a loan may cost.
        """
        end = loan.returned or today
        days = self.calendar.open_days_between(loan.due, end) - self.grace_days
        if days <= 0:
            return 0
        return min(self.discounted(days * self.rate, level), self.most)

    def discounted(self, cents, level):
        """Return an amount after the discount of a level, rounded down to whole cents."""
        if level not in DISCOUNTS:
            raise InvalidValue(f"There is no level {level!r}: {', '.join(DISCOUNTS)}.")
        return cents * (100 - DISCOUNTS[level]) // 100


def shown(cents):
    """Return an amount as text: 1250 is 12.50."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"
