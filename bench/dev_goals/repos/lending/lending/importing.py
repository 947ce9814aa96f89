"""Books from and to CSV files."""

import csv
import io

from lending.errors import InvalidValue, LendingError

COLUMNS = ("title", "author", "year", "isbn", "copies", "tags")


class ImportResult:
    """What became of an import."""

    def __init__(self):
        self.added = []
        self.problems = []

    def summary(self):
        """Say it in one line."""
        return f"{len(self.added)} added, {len(self.problems)} refused"


def import_books(catalog, text):
    """Add the books of a CSV text with a head line. Lines that cannot be used are reported, not fatal."""
    reader = csv.DictReader(io.StringIO(text))
    missing = {"title", "author"} - set(reader.fieldnames or ())
    if missing:
        raise InvalidValue(f"Columns are missing: {', '.join(sorted(missing))}.")
    result = ImportResult()
    for row in reader:
        try:
            result.added.append(catalog.add(**_values(row)))
        except (LendingError, ValueError) as error:
            result.problems.append(f"line {reader.line_num}: {error}")
    return result


def _values(row):
    return {
        "title": row["title"] or "",
        "author": row["author"] or "",
        "year": _number(row.get("year"), "year"),
        "isbn": row.get("isbn") or "",
        "copies": _number(row.get("copies"), "copies") or 1,
        "tags": [tag.strip().lower() for tag in (row.get("tags") or "").split(";") if tag.strip()],
    }


def _number(text, column):
    if not (text or "").strip():
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidValue(f"{column} is not a number: {text}") from None


def export_books(catalog):
    """Return all books as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for book in catalog:
        writer.writerow([book.title, book.author, book.year or "", book.isbn, book.copies, ";".join(book.tags)])
    return out.getvalue()
