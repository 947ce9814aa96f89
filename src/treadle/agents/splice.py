"""Put corrected and new definitions into a file and leave every other line as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from treadle.agents.minimal import moved, rewritten, span

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Assignment = ast.Assign | ast.AnnAssign
_Import = ast.Import | ast.ImportFrom
_Edit = tuple[int, int, list[str]]
"""First line and line behind the last (from 0), and what takes their place."""


def splice(source: str, answer: str) -> str:
    """Return `source` with the functions, methods, fields and constants that `answer` defines otherwise or anew.

    What `answer` leaves out stays. Of what it rewrites, only the statements that differ are taken, so that a diff shows
    the change and nothing else. A definition that it empties (`...`) stays as it was. Imports are added.

    Raises:
        SyntaxError: One of the two is no Python.
    """
    answer = _indented_like(source, answer)
    files = _Files(source.splitlines(), ast.parse(source), answer.splitlines(), ast.parse(answer))
    edits: dict[tuple[int, int], list[str]] = {}
    for start, end, text in (edit for node in files.new.body for edit in _edits(files, node)):
        edits[start, end] = [*edits.get((start, end), []), *text] if start == end else text
    lines = list(files.old_lines)
    for (start, end), text in sorted(edits.items(), reverse=True):
        lines[start:end] = text
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Files:
    old_lines: Sequence[str]
    old: ast.Module
    new_lines: Sequence[str]
    new: ast.Module

    @property
    def end(self) -> int:
        """Where new definitions go: behind the others, before what runs when the file is a program."""
        guards = [node for node in self.old.body if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)]
        if not guards or guards[0] is self.old.body[0]:
            return len(self.old_lines)
        return self.old.body[self.old.body.index(guards[0]) - 1].end_lineno or 0


def _edits(files: _Files, node: ast.stmt) -> Iterator[_Edit]:
    if isinstance(node, _Function):
        yield from _function_edit(files, node)
    elif isinstance(node, ast.ClassDef):
        yield from _class_edits(files, node)
    elif isinstance(node, _Assignment):
        yield from _constant_edit(files, node)
    elif isinstance(node, _Import):
        yield from import_edits(files.old, files.old_lines, node)


def _function_edit(files: _Files, node: _Function) -> Iterator[_Edit]:
    at_top = [child for child in files.old.body if isinstance(child, _Function) and child.name == node.name]
    in_classes = [
        child
        for owner in files.old.body
        if isinstance(owner, ast.ClassDef)
        for child in owner.body
        if isinstance(child, _Function) and child.name == node.name
    ]
    found = at_top or (in_classes if len(in_classes) == 1 else [])
    if found:
        yield from _replace(files, found[0], node)
    elif not in_classes and not is_emptied(node):
        yield files.end, files.end, ["", "", *_text(files, node, 0)]


def _class_edits(files: _Files, node: ast.ClassDef) -> Iterator[_Edit]:
    owner = next(
        (child for child in files.old.body if isinstance(child, ast.ClassDef) and child.name == node.name), None
    )
    if owner is None:
        yield files.end, files.end, ["", "", *_text(files, node, 0)]
        return
    indent = owner.body[0].col_offset
    methods = {child.name: child for child in owner.body if isinstance(child, _Function)}
    fields = {_target(child): child for child in owner.body if isinstance(child, _Assignment)}
    for child in node.body:
        if isinstance(child, _Function) and child.name in methods:
            yield from _replace(files, methods[child.name], child)
        elif isinstance(child, _Function) and not is_emptied(child):
            end = owner.end_lineno or 0
            yield end, end, ["", *_text(files, child, indent)]
        elif isinstance(child, _Assignment) and _target(child) in fields:
            yield from _replace(files, fields[_target(child)], child)
        elif isinstance(child, _Assignment):
            place = _behind_fields(owner)
            yield place, place, _text(files, child, indent)


def _behind_fields(owner: ast.ClassDef) -> int:
    """Where a new field of a class goes: behind the last one, else behind the docstring."""
    above = [n for n in owner.body if isinstance(n, _Assignment) or (n is owner.body[0] and _is_text(n))]
    last = above[-1] if above else None
    if last is None:
        return span(owner.body[0])[0]
    following = owner.body[owner.body.index(last) + 1 :]
    is_described = isinstance(last, _Assignment) and following and _is_text(following[0])
    return (following[0] if is_described else last).end_lineno or 0


def _constant_edit(files: _Files, node: _Assignment) -> Iterator[_Edit]:
    """Replace a constant, or add one that the new definitions use."""
    name = _target(node)
    for child in files.old.body:
        if isinstance(child, _Assignment) and _target(child) == name:
            yield from _replace(files, child, node)
            return
    inside = [child for child in files.new.body if isinstance(child, _Function | ast.ClassDef)]
    used = {part.id for child in inside for part in ast.walk(child) if isinstance(part, ast.Name)}
    if name in used:
        place = _behind_constants(files.old)
        yield place, place, [*([] if place == 0 else [""]), *_text(files, node, 0)]


def _behind_constants(tree: ast.Module) -> int:
    place = 0
    for node in tree.body:
        if not (isinstance(node, _Assignment | _Import) or _is_text(node)):
            break
        place = node.end_lineno or place
    return place


def _replace(files: _Files, before: ast.stmt, after: ast.stmt) -> Iterator[_Edit]:
    if ast.dump(_bare(before)) == ast.dump(_bare(after)) or (is_emptied(after) and not is_emptied(before)):
        return
    start, end = span(before)
    if isinstance(before, _Function) and isinstance(after, _Function):
        yield start, end, rewritten(files.old_lines, before, files.new_lines, after)
    else:
        yield start, end, _text(files, after, before.col_offset)


def is_emptied(node: ast.stmt) -> bool:
    """Tell whether a function has no body but `...` or `pass`: the sign of an answer that left it out."""
    if not isinstance(node, _Function):
        return False
    rest = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return all(isinstance(n, ast.Pass) or (isinstance(n, ast.Expr) and ast.unparse(n) == "...") for n in rest)


def import_edits(tree: ast.Module, lines: Sequence[str], node: _Import) -> Iterator[_Edit]:
    """Add what a file does not import yet: to the line that imports from there, else as a line in its place."""
    known = {a.asname or a.name for child in ast.walk(tree) if isinstance(child, _Import) for a in child.names}
    wanted = [alias for alias in node.names if (alias.asname or alias.name) not in known]
    if not wanted:
        return
    at_top = [child for child in tree.body if isinstance(child, _Import)]
    for child in at_top:
        is_from = isinstance(child, ast.ImportFrom) and isinstance(node, ast.ImportFrom)
        if is_from and _first(child) == _first(node) and child.lineno == child.end_lineno:
            text = lines[child.lineno - 1]
            if "#" in text or "(" in text or "*" in text:
                continue
            names = [ast.unparse(alias) for alias in [*child.names, *wanted]]
            is_sorted = names[: len(child.names)] == sorted(names[: len(child.names)])
            shown = ", ".join(sorted(names) if is_sorted else names)
            yield child.lineno - 1, child.lineno, [text.partition(" import ")[0] + f" import {shown}"]
            return
    is_from = isinstance(node, ast.ImportFrom)
    start = f"from {_first(node)} import " if is_from else "import "
    place = _import_place(tree, at_top, node)
    yield place, place, [start + ", ".join(map(ast.unparse, wanted))]


def _import_place(tree: ast.Module, imports: Sequence[_Import], node: _Import) -> int:
    """Behind the last import of the same form that comes before it in the alphabet, else before the first one."""
    same = [child for child in imports if type(child) is type(node) and _first(child) != "__future__"]
    before = [child for child in same if _first(child) <= _first(node)]
    if before:
        return before[-1].end_lineno or 0
    if same:
        return same[0].lineno - 1
    others = [child for child in imports if _first(child) != "__future__"]
    if others and isinstance(node, ast.Import):
        return others[0].lineno - 1
    if imports:
        return imports[-1].end_lineno or 0
    first = tree.body[0] if tree.body else None
    return (first.end_lineno or 0) if first is not None and _is_text(first) else 0


def _first(node: _Import) -> str:
    return node.names[0].name if isinstance(node, ast.Import) else "." * node.level + (node.module or "")


def _text(files: _Files, node: ast.stmt, indent: int) -> list[str]:
    start, end = span(node)
    return [moved(line, indent - node.col_offset) for line in files.new_lines[start:end]]


def _indented_like(source: str, answer: str) -> str:
    """Write an answer with the indentation of the file that it goes into: a tab, or so many blanks."""
    wanted, given = _unit(source), _unit(answer)
    if wanted == given:
        return answer

    def again(line: str) -> str:
        depth, rest = divmod(len(line) - len(line.lstrip(" ")), len(given))
        return wanted * depth + " " * rest + line.lstrip(" ")

    return "\n".join(map(again, answer.expandtabs(4).splitlines())) + "\n" if "\t" not in given else answer


def _unit(source: str) -> str:
    if re.search(r"^\t", source, re.MULTILINE):
        return "\t"
    found = re.findall(r":[ ]*\n( +)\S", source)
    depths = [len(blanks) for blanks in found]
    return " " * (2 if depths and min(depths) == 2 else 4)


def _target(node: ast.stmt) -> str:
    return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", node))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _bare(node: ast.stmt) -> ast.AST:
    """The node without its docstring: one that only says something else is no correction."""
    if not isinstance(node, _Function) or ast.get_docstring(node) is None:
        return node
    copy = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(copy, _Function)
    copy.body = copy.body[1:] or [ast.Pass()]
    return copy


def recombined(source: str, other: str, *, most: int = 8) -> list[str]:
    """Return versions of `source` that each take one function or method over from `other`.

    Two versions that each solve a part may so make a whole, without asking anybody.
    """
    found: list[str] = []
    for piece in _pieces(ast.parse(other)):
        made = splice(source, piece)
        if made not in (source, *found) and ast.dump(ast.parse(made)) != ast.dump(ast.parse(source)):
            found.append(made)
    return found[:most]


def _pieces(tree: ast.Module) -> Iterator[str]:
    """The functions and methods of a module, each as a module of its own."""
    for node in tree.body:
        if isinstance(node, _Function):
            yield ast.unparse(node)
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                if isinstance(child, _Function):
                    yield ast.unparse(ast.ClassDef(node.name, node.bases, node.keywords, [child], []))
