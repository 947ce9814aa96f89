"""A change is asked for definition by definition, and of each answer only that definition is taken."""

from __future__ import annotations

import pytest

from treadle.agents.focus import Focus, fields_shown, find_focus, head_and_source, only

DESK = '''"""The desk."""

import datetime

DAYS = 21


class Desk:
    """Lends."""

    def __init__(self, loans):
        self.loans = loans

    def lend(self, book):
        return book

    def take_back(self, book):
        """Take a book back."""
        self.loans.remove(book)


def shown(loan):
    return str(loan)


def plain(loan):
    return loan
'''
RECORDS = "from dataclasses import dataclass\n\n\n@dataclass\nclass Loan:\n    book: int\n    paid: int = 0\n"
TEXTS = {"lib/desk.py": DESK, "lib/records.py": RECORDS}
TARGETS = [("lib/desk.py", ("Desk", "shown", "Desk.lend", "plain")), ("lib/records.py", ("Loan",))]


def names(goal: str, new: tuple[str, ...] = (), tests: str = "") -> list[tuple[str, bool]]:
    return [(focus.name, focus.is_new) for focus in find_focus(goal, TARGETS, TEXTS, new=new, tests=tests)]


@pytest.mark.parametrize(
    ("goal", "found"),
    [
        ("Loans are shown in capitals.", [("shown", False), ("Desk.lend", False)]),
        ("`Desk.renew(book)` counts in a new field `renewals` of Loan", [("Loan", False), ("Desk.renew", True)]),
        ("add a function total(loans)", [("total", True)]),
        ("Desk.take_back should count", [("Desk.take_back", False), ("shown", False), ("Desk.lend", False)]),
    ],
)
def test_what_a_goal_names_is_written_first(goal: str, found: list[tuple[str, bool]]) -> None:
    assert names(goal, new=("renew", "total")) == found


def test_what_the_tests_name_comes_before_what_words_suggest() -> None:
    assert names("Loans are shown.", tests="assert plain(1) == 1")[0] == ("plain", False)
    assert find_focus("x", [("page.html", ("a",))], {"page.html": "<p>"}) == []


def test_only_what_matters_of_a_file_is_shown() -> None:
    head, source = head_and_source(DESK, Focus("lib/desk.py", "Desk.lend"))
    assert source == "    def lend(self, book):\n        return book"
    assert "def __init__" in head and "    # def take_back(self, book)  # Take a book back." in head
    assert "DAYS = 21" in head and "# def shown(loan)" in head and "return str(loan)" not in head
    head, source = head_and_source(DESK, Focus("lib/desk.py", "Desk.renew", True), "as in take_back")
    assert "self.loans.remove(book)" in head and source == ""
    head, source = head_and_source(RECORDS, Focus("lib/records.py", "Loan"))
    assert source.startswith("@dataclass\nclass Loan:\n    book: int") and "class" not in head.replace("dataclass", "")
    assert fields_shown(TEXTS, {"Loan"}) == "# A Loan has: book, paid"


def test_a_method_without_its_class_is_put_into_it() -> None:
    answer = "def renew(self, book):\n    return DAYS\n"
    assert (
        only(answer, Focus("", "Desk.renew", True), DESK).strip()
        == "class Desk:\n    def renew(self, book):\n        return DAYS"
    )


def test_copies_and_other_changes_in_an_answer_are_left_out() -> None:
    answer = "import re\nDAYS = 30\nSTRIKE = re.compile('~')\n\n"
    answer += "def plain(loan):\n    return None\n\ndef shown(loan):\n    return 'x'\n"
    taken = only(answer, Focus("", "shown"), DESK)
    assert "import re" in taken and "STRIKE" in taken and "return 'x'" in taken
    assert "DAYS" not in taken and "plain" not in taken
    assert only("def plain(loan):\n    return None\n", Focus("", "shown"), DESK) == ""
    assert only("no code", Focus("", "shown"), DESK) == ""


def test_of_a_class_the_fields_are_taken() -> None:
    answer = (
        "@dataclass\nclass Loan:\n    book: int\n    renewals: int = 0\n\n    def label(self):\n        return ''\n"
    )
    taken = only(answer, Focus("", "Loan"), RECORDS)
    assert "renewals: int = 0" in taken and "label" not in taken
