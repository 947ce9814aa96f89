"""Put corrected definitions into a file and leave every other line as it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Edit = tuple[int, int, list[str]]
"""First line and line behind the last (from 0), and what takes their place."""


def splice(source: str, answer: str) -> str:
    """Return `source` with the functions, methods and constants that `answer` defines otherwise.

    What `answer` leaves out stays. What only differs in layout or comments stays as well, so that a diff shows the
    correction and nothing else. New functions, methods and imports are added.

    Raises:
        SyntaxError: One of the two is no Python.
    """
    old, new = ast.parse(source), ast.parse(answer)
    lines = source.splitlines()
    edits = [edit for node in new.body for edit in _edits(old, node, answer, source)]
    for start, end, text in sorted(edits, key=lambda edit: (edit[0], edit[1]), reverse=True):
        lines[start:end] = text
    return "\n".join(lines) + "\n"


def _edits(old: ast.Module, node: ast.stmt, answer: str, source: str) -> Iterator[_Edit]:
    if isinstance(node, _Function):
        yield from _function_edit(old, node, answer, source)
    elif isinstance(node, ast.ClassDef):
        yield from _class_edits(old, node, answer, source)
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        yield from _assignment_edit(old, node, answer)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        known = {ast.dump(child) for child in old.body}
        names = {alias.name for child in old.body for alias in getattr(child, "names", [])}
        if ast.dump(node) not in known and not {alias.name for alias in node.names} <= names:
            place = _import_place(old)
            yield place, place, [ast.unparse(node)]


def _function_edit(old: ast.Module, node: _Function, answer: str, source: str) -> Iterator[_Edit]:
    at_top = [child for child in old.body if isinstance(child, _Function) and child.name == node.name]
    in_classes = [
        child
        for owner in old.body
        if isinstance(owner, ast.ClassDef)
        for child in owner.body
        if isinstance(child, _Function) and child.name == node.name
    ]
    found = at_top or (in_classes if len(in_classes) == 1 else [])
    if found:
        yield from _replace(found[0], node, answer)
    elif not in_classes:
        end = len(source.splitlines())
        yield end, end, ["", "", *_text(node, answer, 0)]


def _class_edits(old: ast.Module, node: ast.ClassDef, answer: str, source: str) -> Iterator[_Edit]:
    owner = next((child for child in old.body if isinstance(child, ast.ClassDef) and child.name == node.name), None)
    if owner is None:
        end = len(source.splitlines())
        yield end, end, ["", "", *_text(node, answer, 0)]
        return
    methods = {child.name: child for child in owner.body if isinstance(child, _Function)}
    for child in node.body:
        if isinstance(child, _Function) and child.name in methods:
            yield from _replace(methods[child.name], child, answer)
        elif isinstance(child, _Function):
            end = owner.end_lineno or 0
            yield end, end, ["", *_text(child, answer, owner.body[0].col_offset)]


def _assignment_edit(old: ast.Module, node: ast.Assign | ast.AnnAssign, answer: str) -> Iterator[_Edit]:
    name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    for child in old.body:
        if isinstance(child, ast.Assign | ast.AnnAssign):
            target = ast.unparse(child.targets[0] if isinstance(child, ast.Assign) else child.target)
            if target == name:
                yield from _replace(child, node, answer)
                return


def _replace(before: ast.stmt, after: ast.stmt, answer: str) -> Iterator[_Edit]:
    if ast.dump(_bare(before)) != ast.dump(_bare(after)):
        start, end = _span(before)
        yield start, end, _text(after, answer, before.col_offset)


def _text(node: ast.stmt, source: str, indent: int) -> list[str]:
    start, end = _span(node)
    shift = indent - node.col_offset
    lines = source.splitlines()[start:end]
    return [(" " * shift + line if shift > 0 else line[-shift:]) if line.strip() else "" for line in lines]


def _span(node: ast.stmt) -> tuple[int, int]:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1, node.end_lineno or node.lineno


def _bare(node: ast.stmt) -> ast.AST:
    """The node without its docstring: one that only says something else is no correction."""
    if not isinstance(node, _Function) or ast.get_docstring(node) is None:
        return node
    copy = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(copy, _Function)
    copy.body = copy.body[1:] or [ast.Pass()]
    return copy


def _import_place(tree: ast.Module) -> int:
    imports = [node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if imports:
        return max(imports)
    first = tree.body[0] if tree.body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) if first is not None and is_text else 0
