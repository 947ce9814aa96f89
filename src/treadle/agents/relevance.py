"""Which files of a repository a failure is about: read off the traceback, the failing tests and their imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent

from treadle.agents.trial import essence

_FRAME = re.compile(
    r'^(?:\s*File "(?P<file>[^"]+)", line (?P<line>\d+)|(?P<short>[\w./-]+\.py):(?P<at>\d+):)', re.MULTILINE
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py)(?:::([\w:]+))?", re.MULTILINE)
_UNITTEST = re.compile(r"^(?:FAIL|ERROR): (\w+) \(([\w.]+)\)", re.MULTILINE)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failing check says."""

    tests: tuple[tuple[str, str], ...]
    """File and name of the failing tests, as far as the output names them."""
    frames: tuple[tuple[str, int], ...]
    """Files of the repository in the traceback, with lines, outermost first."""
    essence: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A file that may hold the mistake, and the names in it that look involved."""

    path: str
    names: tuple[str, ...]
    score: int


def read_failure(output: str, files: Iterable[str]) -> Failure:
    """Read the output of a check: pytest, unittest or a plain traceback."""
    known = sorted(files, key=len, reverse=True)
    frames = []
    for match in _FRAME.finditer(output):
        path = _known(match["file"] or match["short"], known)
        if path:
            frames.append((path, int(match["line"] or match["at"])))
    tests = [(path, (name or "").rpartition(":")[2]) for path, name in _FAILED.findall(output)]
    tests += [(_known(where.split(".")[0] + ".py", known) or "", name) for name, where in _UNITTEST.findall(output)]
    return Failure(tuple(dict.fromkeys(tests)), tuple(dict.fromkeys(frames)), essence(output))


def find_suspects(
    failure: Failure, texts: Mapping[str, str], goal: str, hints: Mapping[str, int] | None = None
) -> list[Suspect]:
    """Rank the Python files that are no tests; the likeliest first. Files without any sign are left out.

    `hints` adds to the score of files that have one.
    """
    crashed = any(not is_test(path) for path, _ in failure.frames)
    tested, asserted = _names_in_tests(failure, texts), set() if crashed else asserted_calls(failure, texts)
    found = []
    for path, text in texts.items():
        if is_test(path):
            continue
        defined = definitions(text)
        in_trace = _names_at(text, [line for file, line in failure.frames if file == path])
        called = [name for name in defined if name.rpartition(".")[2] in tested]
        called.sort(key=lambda name: name.rpartition(".")[2] not in asserted)
        in_goal = [name for name in defined if re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", goal)]
        score = 5 * bool(in_trace) + 4 * bool(called) + 4 * len(in_goal) + 10 * (path in goal)
        score += 7 * (failure.frames[-1:] != () and failure.frames[-1][0] == path)
        score += 2 * (path.rpartition("/")[2].removesuffix(".py") in tested)
        score += 5 * any(name.rpartition(".")[2] in asserted for name in defined)
        if score:
            score += (hints or {}).get(path, 0)
            found.append(Suspect(path, tuple(dict.fromkeys([*reversed(in_trace), *in_goal, *called])), score))
    return sorted(found, key=lambda suspect: (-suspect.score, suspect.path))


def asserted_calls(failure: Failure, texts: Mapping[str, str]) -> set[str]:
    """The functions whose results the failing tests compare: of `assert Rules(Calendar()).fine(loan) == 5` it is
    `fine`, which is likelier wrong than what only makes its arguments.
    """
    found: set[str] = set()
    for path, name in failure.tests:
        for node in (node for node in _all_definitions(texts.get(path, "")) if node.name == name):
            for part in (part for part in ast.walk(node) if isinstance(part, ast.Assert)):
                sides = [part.test.left, *part.test.comparators] if isinstance(part.test, ast.Compare) else [part.test]
                calls = [side.func for side in sides if isinstance(side, ast.Call)]
                found |= {getattr(call, "attr", "") or getattr(call, "id", "") for call in calls}
    return found - {""}


def failing_tests(failure: Failure, texts: Mapping[str, str], *, most: int = 2) -> str:
    """Return the source of the first failing tests, with what they are run with."""
    shown = []
    for path, name in failure.tests[:most]:
        nodes = {node.name: node for node in _all_definitions(texts.get(path, ""))}
        if name in nodes:
            node = nodes[name]
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            shown.append(dedent("\n".join(texts[path].splitlines()[first - 1 : node.end_lineno])))
    return "\n\n".join(filter(None, shown))


def is_test(path: str) -> bool:
    """Tell whether a file is a test by its name or folder."""
    name = path.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" or "tests/" in path


def definitions(text: str) -> list[str]:
    """List the functions, classes and methods of a source, methods as `Class.method`."""
    found = []
    for node in _parsed(text).body:
        if isinstance(node, _Definition):
            found.append(node.name)
        if isinstance(node, ast.ClassDef):
            found += [f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)]
    return found


def excerpt(text: str, names: Sequence[str], *, max_lines: int = 90) -> str:
    """Return a whole short file, or of a long one the named definitions with the imports and constants above them."""
    lines = text.splitlines()
    if len(lines) <= max_lines:
        return text
    wanted = {name.split(".")[0] for name in names}
    parts, size = [], 0
    for node in _parsed(text).body:
        is_wanted = isinstance(node, _Definition) and node.name in wanted
        if is_wanted or isinstance(node, ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom):
            start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            part = lines[start - 1 : node.end_lineno]
            if size + len(part) <= max_lines * 2:
                parts.append("\n".join(part))
                size += len(part)
    return "\n".join(parts) + "\n"


def _known(path: str, files: Sequence[str]) -> str:
    """Match a path in an output with a file of the repository, whatever stands before it."""
    plain = path.removeprefix("./")
    return next((file for file in files if plain == file or plain.endswith("/" + file)), "")


def _names_in_tests(failure: Failure, texts: Mapping[str, str]) -> set[str]:
    """The names that the failing tests use; of whole test files where the output names no tests."""
    used: set[str] = set()
    for path, name in failure.tests or [(path, "") for path, _ in failure.frames if is_test(path)]:
        tree = _parsed(texts.get(path, ""))
        nodes: list[ast.AST] = [node for node in _all_definitions(texts.get(path, "")) if node.name == name] or [tree]
        for node in (child for part in nodes for child in ast.walk(part)):
            used |= {getattr(node, "id", ""), getattr(node, "attr", "")}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and used & {alias.name for alias in node.names}:
                used.add(node.module.rpartition(".")[2])
    return used - {""}


def _names_at(text: str, lines: Sequence[int]) -> list[str]:
    """The innermost definitions around some lines, in their order."""
    found = []
    for line in lines:
        around = [node for node in _all_definitions(text) if node.lineno <= line <= (node.end_lineno or 0)]
        found += [node.name for node in around[:1]]
    return found


def _all_definitions(text: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    return [node for node in ast.walk(_parsed(text)) if isinstance(node, _Definition)]


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
