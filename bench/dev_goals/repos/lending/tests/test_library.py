from datetime import date

import pytest

from lending.cli import main
from lending.errors import LendingError
from lending.importing import export_books, import_books
from lending.library import Library

TODAY = date(2024, 5, 6)


def test_everything_outlives_a_restart(tmp_path):
    library = Library(tmp_path / "library.json", TODAY)
    library.catalog.add("Émile", "Rousseau", 1762, tags=["classic"])
    library.members.add("Ann", "ann@example.org", TODAY)
    library.lend(1, 1)
    library.calendar.holidays.add(date(2024, 12, 25))
    library.save()
    again = Library(tmp_path / "library.json", TODAY)
    assert list(again.catalog) == list(library.catalog)
    assert again.desk.loans == library.desk.loans
    assert again.calendar.holidays == {date(2024, 12, 25)}


def test_a_broken_file_is_said(tmp_path):
    (tmp_path / "library.json").write_text("{")
    with pytest.raises(LendingError, match="cannot be read"):
        Library(tmp_path / "library.json")


def test_accounts_with_books_stay_open(tmp_path):
    library = Library(tmp_path / "library.json", TODAY)
    library.catalog.add("Emma", "Austen")
    library.members.add("Ann", "ann@example.org", TODAY)
    library.lend(1, 1)
    with pytest.raises(LendingError, match="books"):
        library.close_account(1)
    library.take_back(1, 1)
    assert not library.close_account(1).active


def test_import_reports_what_it_refuses(tmp_path):
    library = Library(tmp_path / "library.json", TODAY)
    result = import_books(library.catalog, "title,author,year\nEmma,Austen,1815\n,Nobody,\nX,Y,soon\n")
    assert result.summary() == "1 added, 2 refused"
    assert result.problems[1].startswith("line 4: year is not a number")
    assert export_books(library.catalog).splitlines()[1] == "Emma,Austen,1815,,1,"


def command(tmp_path, *args):
    return main(["--file", str(tmp_path / "library.json"), "--today", "2024-05-06", *args])


def test_command_line(tmp_path, capsys):
    assert command(tmp_path, "add-book", "Emma", "Jane Austen", "--year", "1815") == 0
    assert command(tmp_path, "add-member", "Ann", "ann@example.org") == 0
    assert command(tmp_path, "lend", "1", "1") == 0
    assert "Due on 2024-05-27." in capsys.readouterr().out
    assert command(tmp_path, "lend", "1", "1") == 1
    assert "already" in capsys.readouterr().err
    assert command(tmp_path, "search", "austen") == 0
    assert capsys.readouterr().out == "1. Emma, Jane Austen (1815)\n"
