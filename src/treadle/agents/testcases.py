"""Tests one by one: taken out of what a model wrote, so that a wrong one can be dropped without losing the others."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable
from dataclasses import dataclass

from treadle.agents.answers import complete_prefix, is_python
from treadle.agents.examples import Example

MAX_CASES = 10
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Case:
    """One test function. `origin` is `goal` for what the user gave and `model` for what a model made up."""

    name: str
    source: str
    origin: str

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "source": self.source, "origin": self.origin}


@dataclass(frozen=True, slots=True)
class Header:
    """What stands above the tests of a file."""

    docstring: str
    imports: tuple[str, ...]
    helpers: str = ""


def from_examples(examples: Iterable[Example]) -> list[Case]:
    """Make one test of each example."""
    return [
        _case(f"test_example_{number}", [example.assertion()], "goal")
        for number, example in enumerate(examples, start=1)
    ]


def from_assertions(source: str, names: Iterable[str]) -> list[Case]:
    """Make one test of each assert statement that calls one of `names`; the comment behind it becomes its name."""
    source = source if is_python(source) else complete_prefix(source)
    known = set(names)
    comments = _comments(source)
    found: dict[str, Case] = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assert) or not _calls(node, known) or _is_unbound(node, known):
            continue
        text = ast.unparse(node)
        name = _name(comments.get(node.end_lineno or 0, ""), min(_used(node) & known), len(found) + 1, found)
        if text not in {case.source.split("\n    ", 1)[1].strip() for case in found.values()}:
            found[name] = _case(name, [text], "model")
    return list(found.values())[:MAX_CASES]


def from_functions(source: str, names: Iterable[str]) -> list[Case]:
    """Take the test functions out of a pytest file. Functions of test classes lose their class and `self`.

    A function that needs fixtures other than pytest's own, or uses none of `names`, is left out.
    """
    source = source if is_python(source) else complete_prefix(source)
    known = set(names)
    found: dict[str, Case] = {}
    for node in _functions(ast.parse(source)):
        arguments = [arg.arg for arg in node.args.args if arg.arg != "self"]
        if not set(arguments) <= {"tmp_path", "capsys", "monkeypatch"} or not _used(node) & known:
            continue
        if isinstance(node, ast.AsyncFunctionDef) or not any(
            isinstance(n, ast.Assert | ast.With) for n in ast.walk(node)
        ):
            continue
        name = node.name if node.name not in found else f"{node.name}_{len(found) + 1}"
        body = [statement for statement in node.body if not _is_docstring(statement)]
        found[name] = _case(name, [ast.unparse(statement) for statement in body], "model", ", ".join(arguments))
    return list(found.values())[:MAX_CASES]


def test_file(header: Header, cases: Iterable[Case]) -> str:
    """Write the test file."""
    bodies = [case.source.rstrip() for case in cases]
    used = "\n".join([header.helpers, *bodies])
    imports = [line for line in header.imports if _is_needed(line, used)]
    parts = [f'"""{header.docstring}"""', "\n".join(imports)]
    top = "\n\n".join(part for part in parts if part)
    return "\n\n\n".join(part for part in (top, header.helpers.strip(), *bodies) if part) + "\n"


def _case(name: str, statements: list[str], origin: str, arguments: str = "") -> Case:
    body = "\n".join("    " + line if line else "" for statement in statements for line in statement.split("\n"))
    return Case(name, f"def {name}({arguments}):\n{body}\n", origin)


def _functions(tree: ast.Module) -> list[_Function]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bodies = [tree.body, *(node.body for node in classes)]
    return [node for body in bodies for node in body if isinstance(node, _Function) and node.name.startswith("test")]


def _comments(source: str) -> dict[int, str]:
    found = {}
    for number, line in enumerate(source.splitlines(), start=1):
        match = re.search(r"#\s*([^#'\"]+)$", line)
        if match:
            found[number] = match[1]
    return found


def _name(comment: str, function: str, number: int, taken: Iterable[str]) -> str:
    words = re.findall(r"[a-z0-9]+", comment.lower())[:6]
    name = "_".join(["test", function.lower().strip("_"), *(words or [str(number)])])
    return name if name not in taken else f"{name}_{number}"


def _used(node: ast.AST) -> set[str]:
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}


def _calls(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(c, ast.Call) and isinstance(c.func, ast.Name) and c.func.id in names for c in ast.walk(node))


def _is_unbound(node: ast.AST, names: set[str]) -> bool:
    """Tell whether the statement reads names that a test of its own would not have."""
    bound = {child.arg for child in ast.walk(node) if isinstance(child, ast.arg)}
    bound |= {c.id for c in ast.walk(node) if isinstance(c, ast.Name) and isinstance(c.ctx, ast.Store)}
    return not _used(node) <= names | bound | set(dir(builtins)) | {"math", "pytest"}


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_needed(line: str, used: str) -> bool:
    name = line.split()[-1]
    return line.startswith("from") or re.search(rf"\b{re.escape(name)}\b", used) is not None
