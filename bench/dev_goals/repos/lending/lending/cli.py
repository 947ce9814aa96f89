"""The command line."""

import argparse
import sys
from pathlib import Path

from lending import reports
from lending.calendar import parse_day
from lending.errors import LendingError
from lending.fines import shown
from lending.importing import export_books, import_books
from lending.library import Library
from lending.search import search, suggestions


def build_parser():
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="lending", description="Keep the books of a small library.")
    parser.add_argument("--file", default="library.json", help="the file that everything is kept in")
    parser.add_argument("--today", type=parse_day, help="act as if it were this day")
    commands = parser.add_subparsers(dest="command", required=True)
    book = commands.add_parser("add-book", help="add a book")
    book.add_argument("title")
    book.add_argument("author")
    book.add_argument("--year", type=int)
    book.add_argument("--isbn", default="")
    book.add_argument("--copies", type=int, default=1)
    book.add_argument("--tag", action="append", default=[])
    books = commands.add_parser("books", help="list the books")
    books.add_argument("--tag", help="only those with this tag")
    member = commands.add_parser("add-member", help="add a member")
    member.add_argument("name")
    member.add_argument("email")
    member.add_argument("--level", default="normal")
    for name, text in (("lend", "lend a book to a member"), ("return", "take a book back")):
        command = commands.add_parser(name, help=text)
        command.add_argument("book", type=int)
        command.add_argument("member", type=int)
    pay = commands.add_parser("pay", help="pay fines")
    pay.add_argument("member", type=int)
    pay.add_argument("cents", type=int)
    find = commands.add_parser("search", help="find books")
    find.add_argument("query", nargs="+")
    report = commands.add_parser("report", help="print a list")
    report.add_argument("what", choices=("overdue", "popular", "stock", "money"))
    account = commands.add_parser("account", help="show the account of a member")
    account.add_argument("member", type=int)
    load = commands.add_parser("import", help="add the books of a CSV file")
    load.add_argument("csv", type=Path)
    commands.add_parser("export", help="print all books as CSV")
    return parser


def run(args, library):
    """Run one command and return the lines to print."""
    if args.command == "add-book":
        book = library.catalog.add(args.title, args.author, args.year, args.isbn, args.copies, args.tag)
        return [book.label()]
    if args.command == "books":
        books = library.catalog.tagged(args.tag) if args.tag else library.catalog
        return [book.label() for book in books]
    if args.command == "add-member":
        return [library.members.add(args.name, args.email, library.today, args.level).label()]
    if args.command == "lend":
        return [f"Due on {library.lend(args.book, args.member).due.isoformat()}."]
    if args.command == "return":
        loan = library.take_back(args.book, args.member)
        return [f"Returned. The fine is {shown(loan.fine)}." if loan.fine else "Returned."]
    if args.command == "pay":
        left = library.desk.pay(args.member, args.cents)
        return [f"Paid {shown(args.cents - left)}, {shown(left)} left over."]
    if args.command == "search":
        return _search(library, " ".join(args.query))
    if args.command == "report":
        return _report(library, args.what)
    if args.command == "account":
        return reports.member_report(library.desk, args.member, library.today)
    if args.command == "import":
        result = import_books(library.catalog, args.csv.read_text(encoding="utf-8"))
        return [*result.problems, result.summary()]
    return export_books(library.catalog).splitlines()


def _search(library, query):
    found = search(library.catalog, query)
    if found:
        return [book.label() for book in found]
    ideas = suggestions(library.catalog, query)
    return ["Nothing found." + (f" Did you mean {', '.join(ideas)}?" if ideas else "")]


def _report(library, what):
    if what == "overdue":
        return reports.overdue_report(library.desk, library.today)
    if what == "popular":
        return reports.popular_report(library.desk)
    if what == "stock":
        return reports.stock_report(library.desk)
    return reports.money_report(library.desk)


def main(argv=None):
    """Run the command line and return the exit code."""
    args = build_parser().parse_args(argv)
    try:
        library = Library(args.file, args.today)
        lines = run(args, library)
        library.save()
    except (LendingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in lines:
        print(line)
    return 0
