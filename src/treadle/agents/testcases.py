"""Tests one by one: taken out of what a model wrote, so that a wrong one can be dropped without losing the others."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from treadle.agents.answers import complete_prefix, is_python
from treadle.agents.examples import Example, find_examples

MAX_CASES = 10
MAX_POOL = 14
SAMPLES = ("'abc') == 'cba'",)
"""What the prompt shows as the form; the smallest models copy it as if it were about their own function."""
_PRINTED = re.compile(
    r"^\s*print\((.+)\)\s*#\s*(?:(?:expected\s+)?(?:output|prints?|returns?)\s*:?|->|=>|==)\s*(\S[^'\"]*)$", re.I | re.M
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Case:
    """One test function.

    `origin` is `goal` for what the user gave, `form` for what it says of the form alone (which options there are),
    `code` for what an answer said about its own code, `model` for tests that a model was asked for.
    """

    name: str
    source: str
    origin: str
    votes: int = 1
    """How many answers proposed it on their own. None: it is likely about something else, and goes when it fails."""

    @property
    def is_given(self) -> bool:
        """Whether it is beyond dispute."""
        return self.origin in ("goal", "form")

    @property
    def body(self) -> str:
        """What it does, whatever it is called."""
        return self.source.partition("\n")[2].strip()

    @property
    def subject(self) -> str:
        """What it asks about: the left side of `assert ... == ...`."""
        return self.body.rpartition(" == ")[0] or self.body

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Case:
        return cls(plain["name"], plain["source"], plain["origin"], plain["votes"])


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


def from_sessions(sessions: Iterable[list[str]]) -> list[Case]:
    """Make one test of each session of calls whose results the user gave."""
    return [_case(f"test_session_{number}", lines, "goal") for number, lines in enumerate(sessions, start=1)]


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
        if text not in {case.body for case in found.values()} and not any(sample in text for sample in SAMPLES):
            found[name] = _case(name, [text], "model")
    return list(found.values())[:MAX_CASES]


def harvest(answer: str, names: Iterable[str]) -> list[Case]:
    """Take the tests that come with an answer about code for free: doctests, asserts, prints with their output.

    They show what the answer was meant to do, which is not always what it does.
    """
    known = sorted(names)
    lines = [example.assertion() for example in find_examples(answer, known)]
    lines += [case.body for case in from_assertions(answer, known)]
    for call, printed in _PRINTED.findall(answer):
        if is_python(call) and _calls(ast.parse(call), set(known)) and not _is_unbound(ast.parse(call), set(known)):
            text = repr(printed.strip())
            lines += [] if f"assert {call} == {text}" in lines else [f"assert str({call}) == {text}"]
    return [replace(case, origin="code") for case in from_assertions("\n".join(lines), known)]


def pool(cases: Iterable[Case], more: Iterable[Case], gone: Iterable[str] = ()) -> list[Case]:
    """Add tests to those in force. One that is there already gains a vote; one against a truth of the goal is left out.

    `gone` names the tests that were dropped before: they do not come back.
    """
    found = {case.body: case for case in cases}
    truths = {case.subject for case in found.values() if case.origin == "goal"}
    names = {case.name for case in found.values()} | set(gone)
    for case in more:
        if case.body in found:
            found[case.body] = replace(found[case.body], votes=found[case.body].votes + 1)
        elif case.origin == "goal" or (case.subject not in truths and len(found) < MAX_POOL):
            name = case.name if case.name not in names else f"{case.name}_{len(names) + 1}"
            found[case.body] = replace(case, name=name, source=case.source.replace(case.name, name, 1))
            names.add(name)
    return list(found.values())


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


def render_tests(header: Header, cases: Iterable[Case]) -> str:
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
