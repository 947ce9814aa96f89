"""Versions of a source that differ from it by one small edit: the mistakes that small models make, turned round.

They are what mutation testing makes on purpose: a bound that is one off, a comparison the wrong way round, another
variable, a statement on the wrong side of a loop's end. Text around an edit stays as it is.
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import singledispatch

from treadle.agents.source import functions

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt, ast.GtE),
    ast.LtE: (ast.Lt, ast.GtE, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt, ast.LtE),
    ast.GtE: (ast.Gt, ast.LtE, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_COMPUTED: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv, ast.Pow),
    ast.Div: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
}
_SCALING = (ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_TWINS = (
    ("min", "max"),
    ("any", "all"),
    ("lower", "upper"),
    ("append", "extend"),
    ("isalpha", "isalnum"),
    ("isalpha", "isdigit"),
    ("floor", "ceil"),
    ("round", "int"),
    ("find", "rfind"),
    ("sum", "len"),
    ("startswith", "endswith"),
    ("popleft", "pop"),
)
_UNWRAPPED = ("sorted", "list", "set", "reversed", "int", "str", "abs", "round", "tuple")
_TEXTS = ("", " ", ",", ", ")
_MOST_OF_TEXT = 3
"""Characters of a string that may be exchanged; longer ones say something."""
_OF_STATEMENTS, _OF_NAMES, _OF_TEXTS = 1, 2, 3
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Edit = tuple[int, int, list[str]]
"""Lines from, to (not included), and what stands there instead."""


def small_edits(source: str, within: Collection[str] = ()) -> Iterator[str]:
    """Yield versions of a Python source, each with one edit, each once; only in functions `within`, if any are named.

    Methods are named `Class.method`. The likelier slip comes first: comparisons, signs, bounds, order of operations;
    then statements, then names and larger numbers, then texts.

    Raises:
        SyntaxError: It is no Python.
    """
    tree, seen = ast.parse(source), {source}
    lines = source.splitlines(keepends=True)
    found: list[tuple[int, str]] = []
    for name, function, _ in functions(tree):
        if within and name not in within:
            continue
        found += _with_other_expressions(source, function)
        found += ((_OF_STATEMENTS, text) for text in _with_other_statements(lines, function))
    for _, text in sorted(found, key=lambda one: one[0]):
        if text not in seen and _meaning(text):
            seen.add(text)
            yield text


def rewritten(before: str, after: str) -> list[str]:
    """Name the functions and methods of a source that another has not, or not like this. Both are Python."""
    there = {name: ast.dump(node) for name, node, _ in functions(ast.parse(before))}
    return [name for name, node, _ in functions(ast.parse(after)) if there.get(name) != ast.dump(node)]


def _with_other_expressions(source: str, function: _Function) -> Iterator[tuple[int, str]]:
    names = _local_names(function)
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for statement in function.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.expr) and not _is_text(statement):
                yield from ((_rank(node, new), _replaced(lines, node, new)) for new in _instead(node, names))


def _rank(node: ast.expr, new: ast.expr) -> int:
    if isinstance(node, ast.Constant):
        is_small = isinstance(node.value, int) and abs(node.value) <= 1
        return _OF_TEXTS if isinstance(node.value, str) else 0 if is_small else _OF_NAMES
    if isinstance(node, ast.BinOp) and isinstance(new, ast.BinOp) and isinstance(node.op, _SCALING):
        return 0 if type(new.op) is type(node.op) else _OF_NAMES
    return _OF_NAMES if isinstance(node, ast.Name | ast.Attribute) else 0


def _replaced(lines: Sequence[bytes], node: ast.expr, new: ast.expr) -> str:
    """The source with one expression in the place of another, in brackets where it needs them."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    start, end = lines[first][: node.col_offset], lines[last][node.end_col_offset :]  # columns count bytes

    def put(text: str) -> str:
        return b"".join([*lines[:first], start, text.encode(), end, *lines[last + 1 :]]).decode()

    text = ast.unparse(ast.fix_missing_locations(new))
    bare, bracketed = put(text), put(f"({text})")
    return bare if _meaning(bare) == _meaning(bracketed) else bracketed


@singledispatch
def _instead(node: ast.expr, names: Sequence[str]) -> Iterator[ast.expr]:
    """What may have been meant instead of an expression."""
    yield from ()


@_instead.register
def _(node: ast.Compare, names: Sequence[str]) -> Iterator[ast.expr]:
    for index, op in enumerate(node.ops):
        for other in _COMPARED.get(type(op), ()):
            yield ast.Compare(node.left, [*node.ops[:index], other(), *node.ops[index + 1 :]], node.comparators)
    for bound in _one_off(node.comparators[-1]):
        yield ast.Compare(node.left, node.ops, [*node.comparators[:-1], bound])


@_instead.register
def _(node: ast.BinOp, names: Sequence[str]) -> Iterator[ast.expr]:
    for other in _COMPUTED.get(type(node.op), ()):
        yield ast.BinOp(node.left, other(), node.right)
    if isinstance(node.right, ast.Constant):
        yield node.left
    if isinstance(node.left, ast.BinOp):
        yield ast.BinOp(node.left.left, node.left.op, ast.BinOp(node.left.right, node.op, node.right))
    if isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Mod):
        yield ast.BinOp(node.right, node.op, node.left)


@_instead.register
def _(node: ast.BoolOp, names: Sequence[str]) -> Iterator[ast.expr]:
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for index in range(len(node.values)):
        rest = [*node.values[:index], *node.values[index + 1 :]]
        yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


@_instead.register
def _(node: ast.UnaryOp, names: Sequence[str]) -> Iterator[ast.expr]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield node.operand


@_instead.register
def _(node: ast.Constant, names: Sequence[str]) -> Iterator[ast.expr]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield from (_number(other) for other in (value + 1, value - 1))
    elif isinstance(value, str) and len(value) <= _MOST_OF_TEXT:
        near = dict.fromkeys((*_TEXTS, value.strip(), value.strip() + " "))
        yield from (ast.Constant(other) for other in near if other != value)


@_instead.register
def _(node: ast.Name, names: Sequence[str]) -> Iterator[ast.expr]:
    if not isinstance(node.ctx, ast.Load):
        return
    yield from (ast.Name(twin, node.ctx) for twin in _twins(node.id))
    if node.id in names:
        yield from (ast.Name(other, node.ctx) for other in names if other != node.id)


@_instead.register
def _(node: ast.Attribute, names: Sequence[str]) -> Iterator[ast.expr]:
    yield from (ast.Attribute(node.value, twin, node.ctx) for twin in _twins(node.attr))
    if isinstance(node.ctx, ast.Load):
        yield from (ast.Name(name, node.ctx) for name in names)


@_instead.register
def _(node: ast.Subscript, names: Sequence[str]) -> Iterator[ast.expr]:
    if isinstance(node.slice, ast.Slice):
        lower, upper, step = node.slice.lower, node.slice.upper, node.slice.step
        for bounds in ((None, upper, step), (lower, None, step), (lower, upper, None), (lower, upper, _number(-1))):
            if bounds != (lower, upper, step):
                yield ast.Subscript(node.value, ast.Slice(*bounds), node.ctx)
    elif isinstance(node.ctx, ast.Load):
        if isinstance(node.slice, ast.Constant) and node.slice.value == 0:
            yield ast.Subscript(node.value, _number(-1), node.ctx)
        elif isinstance(node.slice, ast.UnaryOp):
            yield ast.Subscript(node.value, _number(0), node.ctx)
        yield from (ast.Subscript(node.value, other, node.ctx) for other in _one_off(node.slice))
        yield node.value


@_instead.register
def _(node: ast.Call, names: Sequence[str]) -> Iterator[ast.expr]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == "range" and node.args and not node.keywords:
        at = 1 if len(node.args) > 1 else 0
        for other in _one_off(node.args[at]):
            yield ast.Call(node.func, [*node.args[:at], other, *node.args[at + 1 :]], [])
        if len(node.args) == 1:
            yield ast.Call(node.func, [_number(1), ast.BinOp(node.args[0], ast.Add(), _number(1))], [])
    if name in _UNWRAPPED and len(node.args) == 1 and not isinstance(node.args[0], ast.GeneratorExp):
        yield node.args[0]
    if name == "sorted" or (isinstance(node.func, ast.Attribute) and node.func.attr == "sort"):
        others = [keyword for keyword in node.keywords if keyword.arg != "reverse"]
        turned = [] if len(others) < len(node.keywords) else [ast.keyword("reverse", ast.Constant(True))]
        yield ast.Call(node.func, node.args, [*others, *turned])
    if isinstance(node.func, ast.Attribute) and not node.args and not node.keywords:
        yield node.func.value
    for index, inner in enumerate(node.args):
        for at in range(len(inner.args)) if isinstance(inner, ast.Call) else ():
            yield _turned_inside_out(node, index, at)


def _turned_inside_out(outer: ast.Call, index: int, at: int) -> ast.Call:
    """`outer(inner(a, b), c)` becomes `inner(outer(a, c), b)`: what is done first is done last."""
    inner = outer.args[index]
    assert isinstance(inner, ast.Call)
    first = ast.Call(outer.func, [*outer.args[:index], inner.args[at], *outer.args[index + 1 :]], outer.keywords)
    return ast.Call(inner.func, [*inner.args[:at], first, *inner.args[at + 1 :]], inner.keywords)


def _with_other_statements(lines: Sequence[str], function: _Function) -> Iterator[str]:
    for node in ast.walk(function):
        for block in (getattr(node, name, None) for name in ("body", "orelse")):
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                for index in range(len(block)):
                    for start, end, new in _moves(lines, block, index):
                        yield "".join([*lines[:start], *new, *lines[end:]])


def _moves(lines: Sequence[str], block: Sequence[ast.stmt], index: int) -> Iterator[_Edit]:
    """What may be done to one statement of a block: left out, moved, turned round."""
    node = block[index]
    start, end = _span(node)
    if isinstance(node, _Function | ast.ClassDef | ast.Import | ast.ImportFrom) or _is_text(node):
        return
    if _opens_with_elif(lines, node):
        yield start, start + 1, [lines[start].replace("elif", "if", 1)]
        return
    blank = " " * node.col_offset
    yield start, end, [f"{blank}pass\n"] if len(block) == 1 else []
    following = block[index + 1] if index + 1 < len(block) else None
    if following is not None and not isinstance(following, _Function | ast.ClassDef):
        yield start, _span(following)[1], [*_text(lines, following), *lines[start:end]]
    yield from _other_flow(lines, node, following)


def _other_flow(lines: Sequence[str], node: ast.stmt, following: ast.stmt | None) -> Iterator[_Edit]:
    start, end = _span(node)
    blank = " " * node.col_offset
    if isinstance(node, ast.Break | ast.Continue):
        yield start, end, [f"{blank}{'continue' if isinstance(node, ast.Break) else 'break'}\n"]
    elif isinstance(node, ast.AugAssign):
        for other in _COMPUTED.get(type(node.op), ()):
            turned = copy.copy(node)
            turned.op = other()
            yield start, end, [f"{blank}{ast.unparse(turned)}\n"]
    elif isinstance(node, ast.If):
        if not node.orelse:
            yield start, end, _indented(lines[_span(node.body[0])[0] : end], node.col_offset - node.body[0].col_offset)
    elif isinstance(node, ast.For | ast.While) and not node.orelse:
        first, last = _span(node.body[-1])
        deeper = node.body[0].col_offset - node.col_offset
        if len(node.body) > 1:
            yield first, last, _indented(lines[first:last], -deeper)
        if following is not None:
            yield (*_span(following), _indented(_text(lines, following), deeper))


def _indented(lines: Sequence[str], by: int) -> list[str]:
    return [" " * by + line if by > 0 else line[-by:] if line.strip() else line for line in lines]


def _span(node: ast.stmt) -> tuple[int, int]:
    return node.lineno - 1, node.end_lineno or node.lineno


def _text(lines: Sequence[str], node: ast.stmt) -> list[str]:
    start, end = _span(node)
    return [line if line.endswith("\n") else line + "\n" for line in lines[start:end]]


def _opens_with_elif(lines: Sequence[str], node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and lines[node.lineno - 1][node.col_offset :].startswith("elif")


def _local_names(function: _Function) -> list[str]:
    bound = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return sorted(bound | {argument.arg for argument in function.args.args} - {"self", "cls"})


def _twins(name: str) -> list[str]:
    return [two if name == one else one for one, two in _TWINS if name in (one, two)]


def _one_off(node: ast.expr) -> Iterator[ast.expr]:
    """One more and one less, of what is no plain number: those are handled by themselves."""
    if isinstance(node, ast.Name | ast.Call | ast.BinOp | ast.Attribute):
        yield from (ast.BinOp(node, op, _number(1)) for op in (ast.Add(), ast.Sub()))


def _number(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _meaning(text: str) -> str:
    """What a source means, however it is written; empty if it is no Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.dump(ast.parse(text))
    except (SyntaxError, ValueError):
        return ""
