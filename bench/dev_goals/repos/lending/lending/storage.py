"""The JSON file that everything is kept in."""

import json
import os
from dataclasses import asdict
from datetime import date

from lending.errors import LendingError
from lending.records import Book, Loan, Member

VERSION = 1
_DATES = ("joined", "lent", "due", "returned")


def save(path, books, members, loans, holidays):
    """Write everything, so that a crash leaves the old file or the new one."""
    data = {
        "version": VERSION,
        "books": [asdict(book) for book in books],
        "members": [asdict(member) for member in members],
        "loans": [asdict(loan) for loan in loans],
        "holidays": sorted(holidays),
    }
    text = json.dumps(data, indent=1, default=_plain, ensure_ascii=False)
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(beside, path)


def load(path):
    """Read everything as a dictionary with the keys books, members, loans and holidays; empty if there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        return {"books": [], "members": [], "loans": [], "holidays": []}
    except ValueError as error:
        raise LendingError(f"{path} cannot be read: {error}") from error
    if data.get("version") != VERSION:
        raise LendingError(f"{path} has version {data.get('version')}, not {VERSION}.")
    return {
        "books": [Book(**plain) for plain in data["books"]],
        "members": [Member(**_with_dates(plain)) for plain in data["members"]],
        "loans": [Loan(**_with_dates(plain)) for plain in data["loans"]],
        "holidays": [date.fromisoformat(text) for text in data["holidays"]],
    }


def _plain(value):
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _with_dates(plain):
    return {key: date.fromisoformat(value) if key in _DATES and value else value for key, value in plain.items()}
