import contextlib
import io
import tempfile
from pathlib import Path

from lending.cli import main

place = str(Path(tempfile.mkdtemp()) / "library.json")


def run(*args, code=0):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            found = main(["--file", place, *args])
        except SystemExit as end:
            found = end.code
    assert found == code, (args, found)
    return [int(line.split(".")[0]) for line in said.getvalue().splitlines() if line[:1].isdigit()]


run("add-book", "Ulysses", "james joyce", "--year", "1922", "--tag", "novel")
run("add-book", "emma", "Jane Austen", "--year", "1815", "--tag", "novel")
run("add-book", "Beowulf", "Unknown")
run("add-book", "Dubliners", "James Joyce", "--year", "1914")
assert run("books") == run("books", "--sort", "number") == [1, 2, 3, 4]
assert run("books", "--sort", "title") == [3, 4, 2, 1]
assert run("books", "--sort", "author") == [1, 4, 2, 3]
assert run("books", "--sort", "year") == [2, 4, 1, 3]
assert run("books", "--sort", "year", "--tag", "novel") == [2, 1]
run("books", "--sort", "price", code=2)
