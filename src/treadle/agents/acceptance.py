"""Acceptance tests of a change: written before it is made, beside the tests that are there and in their manner."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from treadle.agents.answers import complete_prefix, is_python
from treadle.agents.minimal import moved, span
from treadle.agents.repo_map import module_of, parsed, words_of
from treadle.agents.splice import splice
from treadle.agents.testcases import Case

MAX_CASES = 6
_FIXTURES = frozenset(
    ["tmp_path", "capsys", "monkeypatch", "caplog", "recwarn", "tmp_path_factory", "capfd", "request"]
)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tests of a change go."""

    path: str
    text: str
    """What the file holds; empty if it is to be made."""
    owner: str
    """The TestCase that they join; empty: they are functions."""
    module: str
    """The module under test."""
    is_unittest: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Known:
    """What tests may use."""

    symbols: Mapping[str, str]
    """Names that the repository defines, each with the module that does; names of several modules are left out."""
    modules: Collection[str]
    new: Collection[str]
    """Names that the goal brings in."""
    fixtures: Collection[str] = ()
    goal: str = ""
    """What is asked for. Where it brings in names, tests that use nothing it speaks of have no vote."""


def place_for(test_files: Iterable[str], texts: Mapping[str, str], target: str, folder: str, unittest: bool) -> Place:
    """Choose the file for the tests: the nearest that looks at the changed file, else a new one beside the others."""
    module = module_of(target)
    for path in test_files:
        text = texts[path]
        if path.endswith(".py") and is_python(text):
            cases = _test_cases(parsed(text))
            return Place(path, text, cases[-1].name if cases else "", module, bool(cases))
    name = f"test_{module.rpartition('.')[2]}"
    path = next(p for p in _numbered(f"{folder}/{name}" if folder else name) if p not in texts)
    return Place(path, "", "ChangeTest" if unittest else "", module, unittest)


def manner(place: Place, goal: str, *, max_lines: int = 45) -> str:
    """Show how tests are written there: what stands above them, and the two nearest to the goal."""
    if not place.text:
        return _head_of_new(place)
    tree, lines = parsed(place.text), place.text.splitlines()
    tests = [node for node in _functions(tree) if node.name.startswith("test")]
    wanted = Counter(words_of(goal))

    def order(node: _Function) -> tuple[int, int]:
        shown = words_of("\n".join(lines[span(node)[0] : node.end_lineno]))
        return -sum(1 for word in wanted if word in shown), (node.end_lineno or 0) - node.lineno

    nearest = sorted((node for node in tests if (node.end_lineno or 0) - node.lineno <= 25), key=order)[:2]
    head = [line for node in tree.body if not _holds_tests(node) for line in lines[slice(*span(node))]][
        : max_lines // 2
    ]
    shown = list(head)
    for node in sorted(nearest, key=lambda n: n.lineno):
        shown += ["", "", *(moved(line, -node.col_offset) for line in lines[slice(*span(node))])]
    return "\n".join(shown[: max_lines * 2]) + "\n"


def read_cases(answer: str, place: Place, known: Known) -> list[Case]:
    """Take the tests out of an answer, each with the imports that it needs. One with unknown names is left out."""
    source = answer if is_python(answer) else complete_prefix(answer)
    tree, lines = parsed(source), source.splitlines()
    imports = [node for node in tree.body if isinstance(node, _Import)]
    taken = {node.name for node in _functions(parsed(place.text))}
    found: dict[str, Case] = {}
    for node in _functions(tree):
        if not node.name.startswith("test") or isinstance(node, ast.AsyncFunctionDef) or not _checks(node):
            continue
        needed = _needed_imports(node, imports, place, known)
        if needed is None:
            continue
        name = node.name
        while name in taken:
            name += "_again"
        text = "\n".join(_as_case(node, lines, needed, name, place))
        if text.partition("\n")[2] not in {case.source.partition("\n")[2] for case in found.values()}:
            found[name] = Case(name, text + "\n", "model", votes=0 if _is_about_others(node, known) else 1)
            taken.add(name)
    return consistent(list(found.values())[:MAX_CASES])


def from_assertions(lines: Iterable[str], place: Place, names: Iterable[str]) -> list[Case]:
    """Make a test of each assert statement of the goal."""
    found = []
    for number, line in enumerate(lines, start=1):
        used = sorted(set(re.findall(r"\w+", line)) & set(names))
        owner = "self" if place.owner else ""
        text = f"def test_example_{number}({owner}):\n    from {place.module} import {', '.join(used)}\n    {line}\n"
        found.append(Case(f"test_example_{number}", text, "goal"))
    return found


def consistent(cases: Iterable[Case]) -> list[Case]:
    """Leave out tests that contradict each other: the same steps, and another result of the same expression."""
    found = list(cases)
    results: dict[str, set[str]] = {}
    for case in found:
        results.setdefault(case.subject, set()).add(case.body)
    return [case for case in found if case.origin == "goal" or len(results[case.subject]) == 1]


def render(place: Place, cases: Iterable[Case], *, final: bool = False) -> str:
    """Write the test file with the tests of the change. In the `final` form their imports stand at the top."""
    text, cases = place.text or _head_of_new(place), list(cases)
    if final:
        imports = [line.strip() for case in cases for line in _own_imports(case)]
        cases = [replace(case, source=_without_imports(case)) for case in cases]
        text = splice(text, "\n".join(dict.fromkeys(imports)))
    lines = text.rstrip("\n").splitlines()
    if place.owner:
        owner = next(node for node in parsed(text).body if isinstance(node, ast.ClassDef) and node.name == place.owner)
        at = owner.end_lineno or len(lines)
        added = [line for case in cases for line in ("", *(moved(line, 4) for line in case.source.splitlines()))]
        if len(owner.body) == 1 and isinstance(owner.body[0], ast.Pass):
            lines[owner.body[0].lineno - 1 : owner.body[0].end_lineno] = []
            at, added = owner.body[0].lineno - 1, added[1:]
    else:
        guard = next(
            (n for n in parsed(text).body if isinstance(n, ast.If) and "__name__" in ast.unparse(n.test)), None
        )
        at = len(lines) if guard is None else guard.lineno - 1
        while at and not lines[at - 1].strip():
            at -= 1
        added = [line for case in cases for line in ("", "", *case.source.rstrip("\n").splitlines())]
        added = added if at else added[2:]
    rest = lines[at:]
    return "\n".join([*lines[:at], *added, *(["", ""] if rest and rest[0].strip() and added else []), *rest]) + "\n"


def _head_of_new(place: Place) -> str:
    if place.is_unittest:
        return f"import unittest\n\nimport {place.module}\n\n\nclass {place.owner}(unittest.TestCase):\n    pass\n"
    return "import pytest\n"


def _is_about_others(node: _Function, known: Known) -> bool:
    """Whether a test uses names of the repository, and none that the goal brings in or speaks of."""
    used = _free_names(node) & {*known.symbols, *known.new}
    return bool(known.goal and known.new and used) and not used & {*known.new, *re.findall(r"\w+", known.goal)}


def _as_case(node: _Function, lines: list[str], needed: list[str], name: str, place: Place) -> list[str]:
    start, end = span(node)
    text = [moved(line, -node.col_offset) for line in lines[start:end]]
    at = node.lineno - 1 - start
    text[at] = re.sub(rf"\bdef {node.name}\b", f"def {name}", text[at], count=1)
    arguments = [arg.arg for arg in node.args.args]
    if place.owner and "self" not in arguments:
        text[at] = text[at].replace("(", "(self, " if arguments else "(self", 1)
    elif not place.owner and "self" in arguments:
        text[at] = re.sub(r"\(self(?:, )?", "(", text[at], count=1)
    if node.body[0].lineno == node.lineno:
        head, _, body = text[at].partition("):")
        text[at : at + 1] = [head + "):", f"    {body.strip()}"]
    begin = max(at + 1, (node.body[0].lineno - 1 - start))
    return [*text[:begin], *(f"    {line}" for line in needed), *text[begin:]]


def _needed_imports(node: _Function, imports: list[_Import], place: Place, known: Known) -> list[str] | None:
    """Say what a test has to import; None if it uses a name that nobody knows, or nothing of the repository."""
    arguments = {arg.arg for arg in node.args.args} - {"self"}
    if not arguments <= _FIXTURES | set(known.fixtures) | _parametrized(node):
        return None
    offered = {a.asname or a.name.split(".")[0]: (one, a) for one in imports for a in one.names}
    at_hand = _bound_at_top(place)
    is_about = bool(arguments & set(known.fixtures))
    found = []
    for name in sorted(_free_names(node)):
        if name in at_hand:
            is_about = is_about or name not in {"pytest", "unittest", "json", "Path", "os", "sys"}
        elif name in offered:
            line = _import_line(*offered[name], place, known)
            if not line:
                return None
            found.append(line)
            is_about = is_about or _is_of_repository(line, known)
        elif name in known.symbols or name in known.new:
            found.append(f"from {known.symbols.get(name, place.module)} import {name}")
            is_about = True
        elif name in ("pytest", "json", "math", "os", "sys", "re", "subprocess"):
            found.append(f"import {name}")
        else:
            return None
    about_inside = any(_is_of_repository(ast.unparse(n), known) for n in ast.walk(node) if isinstance(n, _Import))
    return found if is_about or about_inside else None


def _import_line(node: _Import, alias: ast.alias, place: Place, known: Known) -> str:
    """Write the import of one name. What an answer takes from a module that is not there is looked for where it is."""
    shown = ast.unparse(alias)
    if isinstance(node, ast.Import):
        return f"import {shown}"
    module = node.module or ""
    if alias.name in known.symbols and (module in known.modules or not _is_installed(module)):
        return f"from {known.symbols[alias.name]} import {shown}"
    if module not in known.modules and not _is_installed(module):
        return f"from {place.module} import {shown}" if alias.name in known.new else ""
    return f"from {module} import {shown}"


def _is_installed(module: str) -> bool:
    return module.split(".")[0] in sys.stdlib_module_names or module.split(".")[0] in ("pytest",)


def _is_of_repository(line: str, known: Known) -> bool:
    words = line.split()
    return len(words) > 1 and any(words[1] == m or m.startswith(words[1] + ".") for m in known.modules)


def _free_names(node: _Function) -> set[str]:
    read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)} | set(dir(builtins))
    bound |= {a.asname or a.name.split(".")[0] for n in ast.walk(node) if isinstance(n, _Import) for a in n.names}
    bound |= {n.name for n in ast.walk(node) if isinstance(n, _Function | ast.ClassDef)}
    bound |= {n.name for n in ast.walk(node) if isinstance(n, ast.ExceptHandler) and n.name}
    return read - bound


def _bound_at_top(place: Place) -> set[str]:
    names: set[str] = set()
    for node in parsed(place.text or _head_of_new(place)).body:
        if isinstance(node, _Import):
            names |= {a.asname or a.name.split(".")[0] for a in node.names}
        elif isinstance(node, _Function | ast.ClassDef):
            names.add(node.name)
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return names


def tests_in(path: str, text: str) -> Iterator[tuple[str, str]]:
    """List the tests of a file: their ids as pytest says them, and their sources."""
    for node in parsed(text).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for child in inner:
            if isinstance(child, _Function) and child.name.startswith("test"):
                yield f"{path}::{owner}{child.name}", ast.get_source_segment(text, child) or ""


def fixtures_in(text: str) -> set[str]:
    """List the fixtures that a test file or a conftest.py defines."""
    return {
        node.name
        for node in _functions(parsed(text))
        if any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def _parametrized(node: _Function) -> set[str]:
    texts = [ast.unparse(d) for d in node.decorator_list if "parametrize" in ast.unparse(d)]
    return {word for text in texts for word in re.findall(r"\w+", text.partition("(")[2].partition("[")[0])}


def _checks(node: _Function) -> bool:
    text = ast.unparse(node)
    return bool(re.search(r"\bassert\b|\.assert\w+\(|\braises\(", text))


def _functions(tree: ast.Module) -> list[_Function]:
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    return [node for body in bodies for node in body if isinstance(node, _Function)]


def _test_cases(tree: ast.Module) -> list[ast.ClassDef]:
    return [n for n in tree.body if isinstance(n, ast.ClassDef) and any("TestCase" in ast.unparse(b) for b in n.bases)]


def _holds_tests(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return any(isinstance(child, _Function) and child.name.startswith("test") for child in node.body)
    return (isinstance(node, _Function) and node.name.startswith("test")) or isinstance(node, ast.If)


def _own_imports(case: Case) -> list[str]:
    function = parsed(case.source).body[0]
    assert isinstance(function, _Function)
    lines = case.source.splitlines()
    return [lines[n.lineno - 1] for n in function.body if isinstance(n, _Import) and n.lineno == n.end_lineno]


def _without_imports(case: Case) -> str:
    own = set(_own_imports(case))
    return "\n".join(line for line in case.source.splitlines() if line not in own) + "\n"


def _numbered(stem: str) -> Iterable[str]:
    yield f"{stem}.py"
    yield from (f"{stem}_{number}.py" for number in range(2, 1000))
