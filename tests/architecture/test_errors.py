"""Errors are an interface: scripts match on their codes and exit codes, so both are unique, stable and documented."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from treadle import errors
from treadle.errors import TreadleError

PACKAGE = Path(errors.__file__).parent
EXIT_CODES = {1, 2, 3, 4, 5, 124, 130}  # as documented for the command line
DRAWN = re.compile(r"^(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+)(?P<rest>.*)$")

ERRORS: list[type[TreadleError]] = [
    value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, TreadleError)
]


def drawn_tree() -> dict[str, tuple[str | None, int | None]]:
    """Read the tree in the docstring of errors.py: name -> (name of the parent, exit code if one is drawn)."""
    found: dict[str, tuple[str | None, int | None]] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = DRAWN.match(line)
        if not match or not (line.startswith("    ") and (not found or set(match["indent"]) & set("├└"))):
            continue
        depth = len(match["indent"])
        path = [step for step in path if step[0] < depth]
        code = re.search(r"\bexit (\d+)", match["rest"])
        found[match["name"]] = (path[-1][1] if path else None, int(code[1]) if code else None)
        path.append((depth, match["name"]))
    return found


def drawn_exit_code(name: str | None) -> int:
    """Return the exit code that the tree promises: that of the line, else of the nearest parent with one, else 1."""
    while name is not None:
        name, code = drawn_tree()[name]
        if code is not None:
            return code
    return 1


def test_the_tree_shows_every_error_and_no_other() -> None:
    assert set(drawn_tree()) == {error.__name__ for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_the_tree_shows_each_error_under_its_parent_with_its_exit_code(error: type[TreadleError]) -> None:
    parent, _ = drawn_tree()[error.__name__]
    assert parent == (None if error is TreadleError else error.__bases__[0].__name__)
    assert error.exit_code == drawn_exit_code(error.__name__)
    assert error.exit_code in EXIT_CODES


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_each_error_has_a_code_of_its_own_and_says_what_it_means(error: type[TreadleError]) -> None:
    assert "code" in vars(error), f"{error.__name__} inherits its code; give it one of its own"
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert (error.__doc__ or "").strip()


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in ERRORS]
    assert sorted(codes) == sorted(set(codes))


def test_errors_are_defined_in_errors_only() -> None:
    names = {error.__name__ for error in ERRORS}
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == Path(errors.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and names & {ast.unparse(base).rpartition(".")[2] for base in node.bases}:
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}")
    assert not found, f"move these to errors.py, where users look for them: {found}"
