"""Of a rewritten function only the statements that differ are taken; lines and comments of all others stay."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Compound = ast.If | ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.Try


@dataclass(frozen=True, slots=True)
class _Side:
    """The lines of one version, and how far they have to move to the right to stand where the old ones do."""

    lines: Sequence[str]
    shift: int = 0

    def cut(self, start: int, end: int) -> list[str]:
        """The lines from `start` up to, but not with, `end`; both count from 0."""
        return [moved(line, self.shift) for line in self.lines[start:end]]


def rewritten(old_lines: Sequence[str], old: _Function, new_lines: Sequence[str], new: _Function) -> list[str]:
    """Return the lines of the new function, with those of the old one wherever both say the same.

    A docstring that the new one lacks stays.
    """
    before, after = _Side(old_lines), _Side(new_lines, old.col_offset - new.col_offset)
    if not (_is_plain(old) and _is_plain(new)):
        return after.cut(*span(new))
    is_same_head = _head(old) == _head(new)
    side, node = (before, old) if is_same_head else (after, new)
    lines = side.cut(span(node)[0], _above_first(side, node))
    had, has = ast.get_docstring(old, clean=False) is not None, ast.get_docstring(new, clean=False) is not None
    old_body, new_body = old.body[had:], new.body[has:]
    if had and (is_same_head or not has):
        lines += before.cut(*span(old.body[0]))
    elif has:
        lines += after.cut(*span(new.body[0]))
    old_start = old.body[0].end_lineno or 0 if had else _above_first(before, old)
    new_start = new.body[0].end_lineno or 0 if has else _above_first(after, new)
    return lines + _suite(before, old_body, old_start, after, new_body, new_start)


def span(node: ast.stmt) -> tuple[int, int]:
    """First line of a statement with its decorators, and the line behind its last; both count from 0."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1, node.end_lineno or node.lineno


def moved(line: str, shift: int) -> str:
    """Move a line to the right, or to the left as far as it has blanks."""
    if not line.strip():
        return ""
    return " " * shift + line if shift > 0 else line[min(-shift, len(line) - len(line.lstrip())) :]


def _suite(
    before: _Side, old: Sequence[ast.stmt], old_start: int, after: _Side, new: Sequence[ast.stmt], new_start: int
) -> list[str]:
    """Merge two runs of statements. What stands above a statement (comments, blank lines) belongs to it."""
    old_chunks, new_chunks = _chunks(old, old_start), _chunks(new, new_start)
    matcher = SequenceMatcher(None, [ast.dump(n) for n in old], [ast.dump(n) for n in new], autojunk=False)
    lines: list[str] = []
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind == "equal":
            for start, end in old_chunks[i1:i2]:
                lines += before.cut(start, end)
        elif kind == "replace" and i2 - i1 == j2 - j1:
            for i, j in zip(range(i1, i2), range(j1, j2), strict=True):
                lines += _statement(before, old[i], old_chunks[i][0], after, new[j], new_chunks[j][0])
        elif kind in ("replace", "insert"):
            for start, end in new_chunks[j1:j2]:
                lines += after.cut(start, end)
    return lines


def _chunks(nodes: Sequence[ast.stmt], start: int) -> list[tuple[int, int]]:
    ends = [start, *(node.end_lineno or 0 for node in nodes)]
    return list(pairwise(ends))


def _statement(before: _Side, old: ast.stmt, old_start: int, after: _Side, new: ast.stmt, new_start: int) -> list[str]:
    above = before.cut(old_start, span(old)[0])
    if not any(line.strip() for line in above):
        above = after.cut(new_start, span(new)[0])
    if not (isinstance(old, _Compound) and isinstance(new, _Compound) and _is_alike(old, new)):
        return above + after.cut(*span(new))
    head = before.cut(span(old)[0], span(old.body[0])[0])
    old_first, new_first = span(old.body[0])[0], span(new.body[0])[0]
    body = _suite(before, old.body, old_first, after, new.body, new_first)
    is_same_rest = _rest(old) == _rest(new)
    side, node = (before, old) if is_same_rest else (after, new)
    return above + head + body + side.cut(node.body[-1].end_lineno or 0, node.end_lineno or 0)


def _is_alike(old: _Compound, new: _Compound) -> bool:
    """Tell whether two compound statements have one head, and bodies on lines of their own."""
    if type(old) is not type(new) or not (_is_plain(old) and _is_plain(new)):
        return False
    fields = ("test", "target", "iter", "items")
    return [_dump(getattr(old, f, None)) for f in fields] == [_dump(getattr(new, f, None)) for f in fields]


def _is_plain(node: _Function | _Compound) -> bool:
    """Whether each statement of the body has lines of its own."""
    ends = [node.lineno, *(child.end_lineno or 0 for child in node.body)]
    return all(span(child)[0] >= end for child, end in zip(node.body, ends, strict=False))


def _rest(node: _Compound) -> list[str]:
    return [_dump(getattr(node, field, None)) for field in ("handlers", "orelse", "finalbody")]


def _head(node: _Function) -> list[str]:
    return [type(node).__name__, node.name, _dump(node.args), _dump(node.returns), _dump(node.decorator_list)]


def _dump(value: object) -> str:
    if isinstance(value, list):
        return "|".join(map(_dump, value))
    return ast.dump(value) if isinstance(value, ast.AST) else repr(value)


def _above_first(side: _Side, node: _Function) -> int:
    """The line where the body begins, with the comments and blank lines above its first statement."""
    at = span(node.body[0])[0]
    while at > node.lineno and (not side.lines[at - 1].strip() or side.lines[at - 1].lstrip().startswith("#")):
        at -= 1
    return at
