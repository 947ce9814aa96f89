"""Functions and files stay short: what can be read at one sitting gets read. Docstrings do not count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "treadle"
EXCEPTIONS = Path(__file__).with_name("exceptions.txt")

FUNCTION_LINES = 60
FUNCTION_LINES_P95 = 40
FILE_LINES = 500
NAMES_THAT_SAY_NOTHING = {"base", "common", "helpers", "manager", "misc", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def functions(node: ast.AST, scope: str = "") -> Iterator[tuple[str, Function]]:
    """Yield each function in a tree with its qualified name, inner ones too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            inside = f"{scope}.{child.name}" if scope else child.name
            if isinstance(child, Function):
                yield inside, child
            yield from functions(child, inside)
        else:
            yield from functions(child, scope)


def length(function: Function) -> int:
    """Count the lines from `def` to the end, without the docstring."""
    first, last = function.body[0], function.end_lineno or function.lineno
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if documented else 0
    return last - function.lineno + 1 - docstring


def function_lengths() -> dict[str, int]:
    return {
        f"{name_of(path)}::{qualified}": length(function)
        for path in source_files()
        for qualified, function in functions(ast.parse(path.read_text(encoding="utf-8")))
    }


def file_lengths() -> dict[str, int]:
    return {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in source_files()}


def too_long() -> dict[str, int]:
    long_functions = {name: lines for name, lines in function_lengths().items() if lines > FUNCTION_LINES}
    long_files = {name: lines for name, lines in file_lengths().items() if lines > FILE_LINES}
    return long_functions | long_files


def exceptions() -> dict[str, str]:
    lines = EXCEPTIONS.read_text(encoding="utf-8").splitlines()
    split = [line.partition("  ") for line in lines if line.strip() and not line.startswith("#")]
    return {name: reason.strip() for name, _, reason in split}


def test_no_function_or_file_is_longer_than_the_limit() -> None:
    found = {name: lines for name, lines in too_long().items() if name not in exceptions()}
    assert not found, f"split these (functions: {FUNCTION_LINES} lines, files: {FILE_LINES}): {found}"


def test_nearly_all_functions_are_short() -> None:
    lengths = sorted(function_lengths().values())
    assert lengths, f"no functions under {PACKAGE}"
    p95 = lengths[min(len(lengths) - 1, len(lengths) * 95 // 100)]
    assert p95 <= FUNCTION_LINES_P95, f"the 95th percentile of function length is {p95} lines"


def test_every_exception_has_a_reason_and_is_still_needed() -> None:
    assert not [name for name, reason in exceptions().items() if not reason], "an exception needs a reason"
    assert not exceptions().keys() - too_long().keys(), "these are short by now; take them off the list"


def test_no_module_has_a_name_that_says_nothing() -> None:
    found = [
        name_of(path) for path in source_files() if {path.stem.strip("_"), path.parent.name} & NAMES_THAT_SAY_NOTHING
    ]
    assert not found, f"name these after what belongs in them: {found}"


def test_every_module_says_what_belongs_in_it() -> None:
    modules = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in source_files()}
    silent = [name for name, tree in modules.items() if tree.body and ast.get_docstring(tree) is None]
    assert not silent, f"give these a module docstring: {silent}"


def test_length_counts_the_code_of_a_function_and_not_its_docstring() -> None:
    source = (
        'class A:\n    def f(self):\n        """One.\n\n        Two.\n        """\n        x = 1\n\n        return x\n'
    )
    [(name, function)] = functions(ast.parse(source))
    assert (name, length(function)) == ("A.f", 4)
