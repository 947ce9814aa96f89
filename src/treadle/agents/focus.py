"""A change taken function by function: small models answer one function well, and copy everything else that they see.

What a goal is about is found by rule: fields, methods and functions that it names and that are not there yet, then the
functions that its words and the failing tests point at. Of each answer only that definition is taken, and what is new.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from treadle.agents.answers import complete_prefix, is_python
from treadle.agents.minimal import moved, span
from treadle.agents.repo_map import parsed, signature

_MOST = 3
_MOST_CHANGED = 2
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef
_Known = Mapping[str, "list[tuple[str, bool]]"]
"""What files define: name, and whether it is a class."""
_MAX_CONSTANT_LINES = 12
_FIELD = re.compile(r"\b(?:field|attribute|property|column)s?\b[^.]{0,40}?\b(?:of|in|to|on) `?([A-Z]\w*)`?")
_CALLED = re.compile(r"(?<![\w.])([a-z_]\w*)\(|\b(?:function|helper)\s+(?:named\s+|called\s+)?`?([a-z_]\w*)")
_METHOD = re.compile(r"(?<![\w.])([A-Z]\w*)\.([a-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Focus:
    """One definition that a change has to write."""

    path: str
    name: str
    """`f`, or `C.m`; `C` means the fields of a class."""
    is_new: bool = False

    @property
    def last(self) -> str:
        return self.name.rpartition(".")[2]


def find_focus(
    goal: str,
    targets: Sequence[tuple[str, Sequence[str]]],
    texts: Mapping[str, str],
    *,
    new: Collection[str] = (),
    tests: str = "",
) -> list[Focus]:
    """Say which definitions a change is about, in the order in which they are to be written. Empty: it cannot be told.

    `targets` are the files that may change with the symbols that look involved, the likeliest first; `new` the names in
    the goal that nothing in the repository has. `tests` is the source of the tests that have to pass: what they name
    comes first.
    """
    known = {path: list(_definitions(texts.get(path, ""))) for path, _ in targets if path.endswith(".py")}
    first = next(iter(known), "")
    named = [*_fields(goal, known), *_methods(goal, known)]
    named += [Focus(first, name, is_new=True) for name in _functions(goal) if first and name in new]
    if any(focus.is_new for focus in named):
        return [*named, *_in_named_files(goal, targets, known, {focus.path for focus in named})][:_MOST]
    names = dict(targets).get(first, ()) if first else ()
    functions = {name for name, is_class in known.get(first, []) if not is_class}
    changed = [name for name in names if name in functions]
    said = [name for name in changed if re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", tests)]
    ordered = [*said, *(name for name in changed if name not in said)]
    found = [*named, *(Focus(first, name) for name in ordered[:_MOST_CHANGED])]
    return list(dict.fromkeys(found))[:_MOST]


def head_and_source(text: str, focus: Focus, goal: str = "") -> tuple[str, str]:
    """Return what a model is shown of a file: imports, constants and signatures, and the definition itself, if any.

    Of its class, the fields and the constructor are shown as well, and what the goal names.
    """
    lines, owner = text.splitlines(), focus.name.rpartition(".")[0] or focus.name
    head: list[str] = []
    source = ""
    for node in parsed(text).body:
        start, end = span(node)
        if isinstance(node, ast.ClassDef) and node.name == owner:
            head += ["", *_class_head(node, lines, focus, goal)] if focus.name != node.name else []
            source = _method_source(node, lines, focus)
        elif isinstance(node, _Function) and node.name == focus.name:
            source = "\n".join(lines[start:end])
        elif isinstance(node, _Definition):
            head.append(f"# {signature(node)}")
        elif end - start <= _MAX_CONSTANT_LINES:
            head += lines[start:end]
    return "\n".join(head).strip("\n"), source


def only(answer: str, focus: Focus, text: str) -> str:
    """Leave of an answer the definition that was asked for, imports, and what the file does not define yet.

    A method without its class is put into it. Empty if the definition is not there.
    """
    code = answer if is_python(answer) else complete_prefix(answer)
    lines, there = code.splitlines(), _names(parsed(text))
    owner = focus.name.rpartition(".")[0]
    kept: list[str] = []
    found = False
    for node in parsed(code).body:
        start, end = span(node)
        if isinstance(node, ast.ClassDef) and node.name in (owner, focus.name):
            part = _of_class(node, lines, focus)
            found = found or bool(part)
            kept += part
        elif isinstance(node, _Function) and node.name == focus.last:
            body = [moved(line, 4) for line in lines[start:end]] if owner else lines[start:end]
            kept += [f"class {owner}:", *body] if owner else body
            found = True
        elif isinstance(node, ast.Import | ast.ImportFrom) or _names(ast.Module([node], [])) - there:
            kept += lines[start:end]
        kept += [""]
    return "\n".join(kept) if found else ""


def _definitions(text: str) -> Iterator[tuple[str, bool]]:
    """Name, and whether it is a class, of everything that a file defines."""
    for node in parsed(text).body:
        if isinstance(node, _Definition):
            yield node.name, isinstance(node, ast.ClassDef)
        if isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, _Function):
                    yield f"{node.name}.{child.name}", False


def _in_named_files(
    goal: str, targets: Sequence[tuple[str, Sequence[str]]], known: _Known, covered: Collection[str]
) -> Iterator[Focus]:
    """The likeliest function of each other file that the goal names."""
    for path, names in targets:
        function = next((name for name in names if (name, False) in known.get(path, [])), "")
        if function and path not in covered and re.search(rf"(?<![\w/]){re.escape(path)}(?!\w)", goal):
            yield Focus(path, function)


def _fields(goal: str, known: _Known) -> Iterator[Focus]:
    """Classes that get a field."""
    for name in dict.fromkeys(_FIELD.findall(goal)):
        paths = [path for path, found in known.items() if (name, True) in found]
        if len(paths) == 1:
            yield Focus(paths[0], name)


def _methods(goal: str, known: _Known) -> Iterator[Focus]:
    """Methods that the goal names, of classes that are there."""
    for owner, name in dict.fromkeys(_METHOD.findall(goal)):
        for path, found in known.items():
            names = {one for one, _ in found}
            if owner in names and not _is_field(name, goal):
                yield Focus(path, f"{owner}.{name}", f"{owner}.{name}" not in names)


def _is_field(name: str, goal: str) -> bool:
    return bool(re.search(rf"\b(?:field|attribute|property|column)s?\s+`?{name}\b", goal))


def _functions(goal: str) -> list[str]:
    """Functions that the goal speaks of, but for those that Python has."""
    names = [next(filter(None, pair)) for pair in _CALLED.findall(goal)]
    return [name for name in dict.fromkeys(names) if name not in dir(builtins)]


def _class_head(node: ast.ClassDef, lines: Sequence[str], focus: Focus, goal: str) -> list[str]:
    shown = list(lines[span(node)[0] : node.lineno])
    for child in node.body:
        if not isinstance(child, _Function):
            shown += lines[slice(*span(child))]
        elif child.name != focus.last:
            is_named = "_" in child.name and re.search(rf"\b{re.escape(child.name)}\b", goal)
            is_shown = child.name == "__init__" or is_named
            shown += lines[slice(*span(child))] if is_shown else [f"    # {signature(child)}"]
    return shown


def fields_shown(texts: Mapping[str, str], names: Collection[str]) -> str:
    """Tell the fields of data classes by their names, one comment each."""
    found = []
    for text in texts.values():
        for node in parsed(text).body:
            if isinstance(node, ast.ClassDef) and node.name in names:
                fields = [ast.unparse(child.target) for child in node.body if isinstance(child, ast.AnnAssign)]
                found += [f"# A {node.name} has: {', '.join(fields)}"] if fields else []
    return "\n".join(found)


def _method_source(node: ast.ClassDef, lines: Sequence[str], focus: Focus) -> str:
    for child in node.body:
        if isinstance(child, _Function) and focus.name == f"{node.name}.{child.name}":
            return "\n".join(lines[slice(*span(child))])
    if focus.name != node.name:
        return ""
    parts = [lines[slice(*span(child))] for child in node.body if not isinstance(child, _Function)]
    return "\n".join([*lines[span(node)[0] : node.lineno], *(line for part in parts for line in part)])


def _of_class(node: ast.ClassDef, lines: Sequence[str], focus: Focus) -> list[str]:
    """The part of a class that was asked for: one method, or its fields; helpers that are new come with it."""
    wanted = [
        child
        for child in node.body
        if (isinstance(child, _Function) and child.name == focus.last)
        or (focus.name == node.name and isinstance(child, ast.Assign | ast.AnnAssign))
    ]
    body = [line for child in wanted for line in lines[slice(*span(child))]]
    return [f"class {node.name}:", *body] if body else []


def _names(tree: ast.Module) -> set[str]:
    """What a module defines at its top."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, _Definition):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found
