from datetime import date

import pytest

from lending import reports
from lending.library import Library


@pytest.fixture
def library(tmp_path):
    library = Library(tmp_path / "library.json", date(2024, 5, 6))
    library.catalog.add("Emma", "Jane Austen", copies=2)
    library.catalog.add("Ulysses", "James Joyce")
    library.members.add("Ann Smith", "ann@example.org", library.today)
    library.members.add("Bob", "bob@example.org", library.today, "student")
    return library


def test_nothing_to_report(library):
    assert reports.overdue_report(library.desk, library.today) == ["Nothing is overdue."]
    assert reports.popular_report(library.desk) == ["Nothing was lent yet."]


def test_overdue_loans_are_listed_with_their_fine(library):
    library.lend(1, 1)
    assert reports.overdue_report(library.desk, date(2024, 6, 3)) == [
        "member     book  due         days  fine",
        "---------  ----  ----------  ----  ----",
        "Ann Smith  Emma  2024-05-27  7     1.00",
    ]


def test_popular_books_come_first(library):
    library.lend(2, 1)
    library.lend(1, 1)
    library.lend(1, 2)
    assert [line.split()[0] for line in reports.popular_report(library.desk)[2:]] == ["Emma", "Ulysses"]


def test_accounts(library):
    library.lend(1, 2)
    lines = reports.member_report(library.desk, 2, date(2024, 6, 3))
    assert lines[1:] == ["Level: student", "Owes: 0.50", "Books: 1", "  Emma, due 2024-05-27, 7 days late"]


def test_stock(library):
    library.lend(1, 1)
    assert reports.stock_report(library.desk)[2].split() == ["1", "Emma", "Jane", "Austen", "2", "1"]
