"""What tests demand, as bare statements: a fourth of the text, and no classes and functions that a model would copy."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from treadle.agents.answers import is_python

_MOST_ALIKE = 5
"""Tests that differ in their values alone; more of them say no more."""
_MOST_ROWS = 5
_MOST_OF_HELPERS = 600
_FRAMEWORKS = ("unittest", "pytest", "__future__", "sys", "os")
_COMPARED: dict[str, type[ast.cmpop]] = {
    "Equal": ast.Eq,
    "Equals": ast.Eq,
    "NotEqual": ast.NotEq,
    "Is": ast.Is,
    "IsNot": ast.IsNot,
    "In": ast.In,
    "NotIn": ast.NotIn,
    "Greater": ast.Gt,
    "GreaterEqual": ast.GtE,
    "Less": ast.Lt,
    "LessEqual": ast.LtE,
    "AlmostEqual": ast.Eq,
    "CountEqual": ast.Eq,
    "DictEqual": ast.Eq,
    "ListEqual": ast.Eq,
    "MultiLineEqual": ast.Eq,
    "SequenceEqual": ast.Eq,
    "SetEqual": ast.Eq,
    "TupleEqual": ast.Eq,
}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Body = list[ast.stmt]


def plain_tests(sources: Sequence[str], most: int) -> str:
    """Say in about `most` characters what each of these files demands; of tests that are alike, the first few.

    Assertions of unittest become `assert`, fixtures and rows of parameters are put in, expected exceptions are
    comments. A file in which no tests are found is given as it is, as far as it fits.
    """
    parts = [_plain(ast.parse(source), most) if is_python(source) else "" for source in sources]
    return "\n\n".join(part or source.strip()[:most] for part, source in zip(parts, sources, strict=True))


def _plain(tree: ast.Module, most: int) -> str:
    bodies = [_stated(body) for body in _bodies(tree)]
    chosen = _chosen([(_shape(body), "\n".join(map(_written, body))) for body in bodies if body], most)
    shown = ""
    for before, text in zip(["", *chosen], chosen, strict=False):
        shown += ("\n" if "\n" not in before + text else "\n\n") + text
    return "\n".join([*_needed(tree, shown), shown.strip("\n")]) if chosen else ""


def _chosen(tests: Sequence[tuple[str, str]], most: int) -> list[str]:
    """The first of each shape, then the second, as long as they fit, in the order of the file."""
    groups: dict[str, list[int]] = {}
    for number, (shape, _) in enumerate(tests):
        groups.setdefault(shape, []).append(number)
    chosen: set[int] = set()
    for row in list(zip_longest(*groups.values()))[:_MOST_ALIKE]:
        for number in row:
            if number is not None and (len(tests[number][1]) < most or not chosen):
                most -= len(tests[number][1])
                chosen.add(number)
    return [tests[number][1] for number in sorted(chosen)]


def _bodies(tree: ast.Module) -> Iterator[_Body]:
    """What each test does, with what is done before it."""
    fixtures = {node.name: node for node in tree.body if isinstance(node, _Function) and _is_fixture(node)}
    for owned in (tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))):
        functions = [node for node in owned if isinstance(node, _Function)]
        before = [stmt for node in functions if node.name in ("setUp", "setup_method") for stmt in node.body]
        for node in functions:
            if node.name.startswith("test"):
                given = [stmt for arg in node.args.args for stmt in _value_of(arg.arg, fixtures)]
                for row in _rows(node):
                    yield [copy.deepcopy(stmt) for stmt in (*before, *given, *row, *node.body)]


def _value_of(name: str, fixtures: dict[str, _Function]) -> _Body:
    if name not in fixtures:
        return []
    *before, last = fixtures[name].body
    value = getattr(last, "value", None)
    value = value.value if isinstance(value, ast.Yield) else value
    return [*before, _assigned(name, value)] if isinstance(value, ast.expr) else []


def _rows(node: _Function) -> list[_Body]:
    """The values of `pytest.mark.parametrize`, as assignments."""
    for mark in node.decorator_list:
        if not (isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("parametrize") and len(mark.args) > 1):
            continue
        names, values = mark.args[0], mark.args[1]
        if not (isinstance(names, ast.Constant) and isinstance(values, ast.List | ast.Tuple)):
            continue
        called = [name.strip() for name in str(names.value).split(",")]
        rows = [_cells(value, len(called)) for value in values.elts[:_MOST_ROWS]]
        return [[_assigned(*pair) for pair in zip(called, row, strict=False)] for row in rows]
    return [[]]


def _cells(row: ast.expr, count: int) -> list[ast.expr]:
    if isinstance(row, ast.Call) and ast.unparse(row.func).endswith("param"):
        return row.args
    return row.elts if count > 1 and isinstance(row, ast.Tuple | ast.List) else [row]


def _assigned(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _stated(body: _Body) -> _Body:
    plain = [_Plain().visit(stmt) for stmt in body if not _is_text(stmt)]
    return _inlined([ast.fix_missing_locations(stmt) for stmt in _without_messages(plain)])


class _Plain(ast.NodeTransformer):
    """Takes unittest out of statements: `self.assertEqual(a, b)` is `assert a == b`, `self.x` is `x`."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        call = node.value
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("assert")):
            return node
        kind, given = call.func.id.removeprefix("assert"), call.args
        if kind in _COMPARED and len(given) > 1:
            return ast.Assert(ast.Compare(given[0], [_COMPARED[kind]()], [given[1]]))
        if kind in ("True", "False") and given:
            return ast.Assert(given[0] if kind == "True" else ast.UnaryOp(ast.Not(), given[0]))
        if kind in ("IsNone", "IsNotNone") and given:
            return ast.Assert(
                ast.Compare(given[0], [ast.Is() if kind == "IsNone" else ast.IsNot()], [ast.Constant(None)])
            )
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return ast.Name(node.attr, node.ctx)
        return node


def _without_messages(body: _Body) -> Iterator[ast.stmt]:
    """Put what is asserted of an exception's text into the `with` that expects it."""
    expecting: tuple[str, ast.Call] | None = None
    for stmt in body:
        if isinstance(stmt, ast.With):
            expecting = _expected(stmt) or expecting
        elif expecting and isinstance(stmt, ast.Assert) and f"{expecting[0]}." in ast.unparse(stmt):
            texts = [node for node in ast.walk(stmt) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            expecting[1].args += texts[:1] if len(expecting[1].args) == 1 else []
            continue
        yield stmt


def _expected(node: ast.With) -> tuple[str, ast.Call] | None:
    """The name and the call of `with raises(...) as name`."""
    item = node.items[0]
    if isinstance(item.context_expr, ast.Call) and _is_raising(item.context_expr):
        return (ast.unparse(item.optional_vars) if item.optional_vars else " ", item.context_expr)
    return None


def _is_raising(call: ast.Call) -> bool:
    return ast.unparse(call.func).rpartition(".")[2] in ("raises", "assertRaises", "assertRaisesRegex")


def _inlined(body: _Body) -> _Body:
    """Put values that have a name and are used once where they are used."""
    for number, stmt in enumerate(body):
        if not (isinstance(stmt, ast.Assign) and isinstance(stmt.targets[0], ast.Name)):
            continue
        name, value = stmt.targets[0].id, stmt.value
        rest = body[number + 1 :]
        nodes = [node for later in rest for node in ast.walk(later)]
        uses = [node for node in nodes if isinstance(node, ast.Name) and node.id == name]
        # A text cannot be put into an f-string everywhere: before Python 3.12 it must have no backslash there.
        uses += [use for node in nodes if isinstance(node, ast.JoinedStr) for use in ast.walk(node) if use in uses]
        is_next = bool(rest) and isinstance(rest[0], ast.Assert) and name in ast.unparse(rest[0])
        if len(uses) == 1 and isinstance(uses[0].ctx, ast.Load) and (_is_value(value) or is_next):
            put = _Put(name, value)
            return _inlined([*body[:number], *(put.visit(later) for later in rest)])
    return body


class _Put(ast.NodeTransformer):
    def __init__(self, name: str, value: ast.expr) -> None:
        self._name, self._value = name, value

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._value if node.id == self._name else node


def _is_value(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True


def _written(stmt: ast.stmt) -> str:
    """The statement; what has to raise is one line with a comment."""
    expected = _expected(stmt) if isinstance(stmt, ast.With) else None
    if expected is None or not isinstance(stmt, ast.With):
        return ast.unparse(stmt)
    match = [keyword.value for keyword in expected[1].keywords if keyword.arg == "match"]
    kind, *message = [*(expected[1].args or [ast.Name("an exception")]), *match]
    inner = "\n".join(ast.unparse(inner) for inner in stmt.body)
    return f"{inner}  # raises {ast.unparse(kind)}" + (f"({ast.unparse(message[0])})" if message else "")


def _shape(body: _Body) -> str:
    """What is the same in tests that differ in their values alone."""
    return "\n".join(ast.unparse(_Blank().visit(copy.deepcopy(stmt))) for stmt in body)


class _Blank(ast.NodeTransformer):
    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Name("str")

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.Set) and _is_value(node):
            return ast.Name(type(node.value).__name__ if isinstance(node, ast.Constant) else type(node).__name__)
        return super().generic_visit(node)


def _needed(tree: ast.Module, shown: str) -> list[str]:
    """The imports, and what else the tests use of their file."""
    words = (
        {node.id for node in ast.walk(ast.parse(shown)) if isinstance(node, ast.Name)} if is_python(shown) else set()
    )
    lines = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if not any(ast.unparse(node).split()[1].partition(".")[0] == name for name in _FRAMEWORKS):
                lines.append(ast.unparse(node))
        elif isinstance(node, ast.Assign) and {ast.unparse(target) for target in node.targets} & words:
            lines.append(ast.unparse(node)[:_MOST_OF_HELPERS])
        elif isinstance(node, _Function) and node.name in words and len(ast.unparse(node)) < _MOST_OF_HELPERS:
            lines.append(ast.unparse(node))
    return [*lines, ""] if lines else []


def _is_fixture(node: _Function) -> bool:
    return any(ast.unparse(mark).partition("(")[0].endswith("fixture") for mark in node.decorator_list)


def _is_text(stmt: ast.stmt) -> bool:
    return isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)
