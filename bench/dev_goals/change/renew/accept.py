import tempfile
from datetime import date, timedelta
from pathlib import Path

from lending.errors import LendingError, LimitReached, NotFound
from lending.library import Library


def refused(kind, call, *args):
    try:
        call(*args)
    except kind:
        return True
    return False


TODAY, place = date(2024, 5, 6), Path(tempfile.mkdtemp()) / "library.json"
library = Library(place, TODAY)
library.catalog.add("Emma", "Jane Austen")
library.catalog.add("Ulysses", "James Joyce")
library.members.add("Ann", "ann@example.org", TODAY)
first = library.lend(1, 1)
assert first.renewals == 0
due = first.due
assert library.desk.renew(1, 1, due) is first and first.due == library.calendar.due_date(due, 21) and first.renewals == 1
library.save()
again = Library(place, TODAY)
assert again.desk.loans[0].renewals == 1 and again.desk.loans[0].due == first.due
again.desk.renew(1, 1, TODAY + timedelta(days=6))
assert again.desk.loans[0].due == date(2024, 6, 3)
before = again.desk.loans[0].due
assert refused(LimitReached, again.desk.renew, 1, 1, TODAY) and again.desk.loans[0].due == before
assert refused(NotFound, again.desk.renew, 2, 1, TODAY)
late = library.lend(2, 1)
assert refused(LendingError, library.desk.renew, 2, 1, late.due + timedelta(days=1)) and late.renewals == 0
