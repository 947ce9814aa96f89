"""What a model is shown of a file: all of a short one, of a long one the parts that matter, the rest as comments."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from treadle.agents.repo_map import parsed, signature

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef
_MAX_CONSTANT_LINES = 12
_WIDE = 300
"""Characters of a line that holds data, and is not shown."""


def view(text: str, names: Sequence[str], *, max_lines: int = 110) -> str:
    """Return a whole short file, or of a long one the named definitions, imports and short constants.

    Other definitions are one comment each, so that a model knows them, and cannot give them back emptied.
    """
    lines = text.splitlines()
    tree = parsed(text)
    if (len(lines) <= max_lines and not _is_wide(lines)) or not tree.body:
        return "\n".join(line[:_WIDE] for line in lines[: 3 * max_lines]) + "\n"
    shown = _within(tree, lines, names, max_lines)
    parts = [part for node in tree.body for part in _shown(node, lines, shown)]
    return "\n".join(parts) + "\n"


def _within(tree: ast.Module, lines: Sequence[str], names: Sequence[str], max_lines: int) -> set[str]:
    """Choose of the names, the first ones first, as many as fit; a class goes in whole only if it is short."""
    sizes = {name: end - start for name, (start, end) in _places(tree)}
    chosen: set[str] = set()
    left = max_lines
    for name in names:
        size = sizes.get(name, max_lines)
        is_first = not chosen
        if name.rpartition(".")[0] in chosen or (size > left and not (is_first and size <= 2 * max_lines)):
            continue
        chosen.add(name)
        left -= size
    return chosen


def _places(tree: ast.Module) -> Iterable[tuple[str, tuple[int, int]]]:
    for node in tree.body:
        if isinstance(node, _Definition):
            yield node.name, _span(node)
        if isinstance(node, ast.ClassDef):
            yield from (
                (f"{node.name}.{child.name}", _span(child)) for child in node.body if isinstance(child, _Function)
            )


def _shown(node: ast.stmt, lines: Sequence[str], names: set[str]) -> Iterable[str]:
    start, end = _span(node)
    if isinstance(node, ast.ClassDef) and node.name not in names:
        yield from _class(node, lines, names)
    elif isinstance(node, _Definition):
        if node.name in names:
            yield from ("", *lines[start:end])
        else:
            yield f"# {signature(node)}"
    elif isinstance(node, ast.Import | ast.ImportFrom) or (
        end - start <= _MAX_CONSTANT_LINES and not _is_wide(lines[start:end])
    ):
        yield from lines[start:end]
    else:
        yield f"# {lines[start].strip()[:80]} ... ({end - start} lines)"


def _class(node: ast.ClassDef, lines: Sequence[str], names: set[str]) -> Iterable[str]:
    """Show the head of a class, its fields, its constructor, and the methods that matter."""
    inner = {child.name for child in node.body if isinstance(child, _Function)}
    wanted = {name.rpartition(".")[2] for name in names if name.startswith(node.name + ".")}
    if not wanted:
        yield f"# {signature(node)}"
        yield from (f"#     {signature(child)}" for child in node.body if isinstance(child, _Function))
        return
    yield from ("", *lines[_span(node)[0] : node.lineno])
    for child in node.body:
        start, end = _span(child)
        if not isinstance(child, _Function) or child.name in wanted or (child.name == "__init__" and inner):
            yield from lines[start:end]
        else:
            yield f"{' ' * child.col_offset}# {signature(child)}"


def _is_wide(lines: Sequence[str]) -> bool:
    return any(len(line) > _WIDE for line in lines)


def _span(node: ast.stmt) -> tuple[int, int]:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1, node.end_lineno or node.lineno
