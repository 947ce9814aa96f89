"""The members of the library."""

import re

from lending.errors import InvalidValue, LendingError, NotFound
from lending.fines import DISCOUNTS
from lending.records import Member

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class Members:
    """Holds the members by number."""

    def __init__(self, members=()):
        self._members = {member.number: member for member in members}

    def __len__(self):
        return len(self._members)

    def __iter__(self):
        return iter(sorted(self._members.values(), key=lambda member: member.number))

    def add(self, name, email, joined, level="normal"):
        """Add a member and return it. Each address can be used once."""
        name, email = " ".join(name.split()), email.strip().lower()
        if not name:
            raise InvalidValue("A member needs a name.")
        if not _EMAIL.fullmatch(email):
            raise InvalidValue(f"{email!r} is not an e-mail address.")
        if level not in DISCOUNTS:
            raise InvalidValue(f"There is no level {level!r}: {', '.join(DISCOUNTS)}.")
        if any(member.email == email and member.active for member in self):
            raise LendingError(f"{email} belongs to a member already.")
        number = max(self._members, default=0) + 1
        member = Member(number, name, email, joined, level)
        self._members[number] = member
        return member

    def get(self, number):
        """Return a member by number."""
        if number not in self._members:
            raise NotFound("member", number)
        return self._members[number]

    def active(self):
        """List the members who may borrow."""
        return [member for member in self if member.active]

    def close(self, number):
        """Close the account of a member."""
        member = self.get(number)
        if not member.active:
            raise LendingError(f"The account of {member.name} is closed already.")
        member.active = False
        return member

    def change_level(self, number, level):
        """Give a member another level."""
        if level not in DISCOUNTS:
            raise InvalidValue(f"There is no level {level!r}: {', '.join(DISCOUNTS)}.")
        member = self.get(number)
        member.level = level
        return member
