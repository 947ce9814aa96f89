"""What a text says, taken apart into facts, so that a merge can be proved to keep what both sides did.

A fact is one statement, definition, imported name, parameter, or entry of a list or table, with the place where it
stands. A merge is right if it holds exactly the facts of the base, less what either side took away, plus what either
side added. Order is not a fact: whoever merges keeps that of each side.
"""

from __future__ import annotations

import ast
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Place = tuple[str, ...]
_EXIT = "the end of the block"


@dataclass(frozen=True, slots=True)
class Fact:
    """`slot` is what only one fact can fill: a name in its scope, a key of a table. Empty: any number may be there."""

    place: Place
    said: str
    slot: str = ""


class Unreadable(ValueError):
    """The text is not in form."""


def reader_of(path: str) -> Callable[[str], Counter[Fact]] | None:
    """Say how the facts of a file are read; None if that is not known for files of this kind."""
    ending = path.rpartition(".")[2].lower() if "." in path else ""
    return {"py": python_facts, "json": json_facts, "toml": toml_facts}.get(ending)


def objection(base: Counter[Fact], ours: Counter[Fact], theirs: Counter[Fact], merged: Counter[Fact]) -> str:
    """Say what is wrong with a merge, or nothing."""
    added, more = ours - base, theirs - base
    gone = (base - ours) | (base - theirs)
    clash = {(fact.place, fact.slot) for fact in added if fact.slot} & {
        (fact.place, fact.slot) for fact in more if fact.slot and fact not in added
    }
    if clash:
        return f"Both sides say what {sorted(clash)[0][1]} is."
    wanted = (base - gone) + (added | more)
    lost = wanted - merged
    if lost:
        return f"Lost: {_shown(next(iter(lost)))}"
    extra = merged - wanted
    return f"Not wanted: {_shown(next(iter(extra)))}" if extra else ""


def lost_names(base: Counter[Fact], ours: Counter[Fact], theirs: Counter[Fact], merged: Counter[Fact]) -> list[str]:
    """List what one side defines, neither side took away, and a merge does not define. Local names do not count."""
    before, mine, other, made = (_names(facts) for facts in (base, ours, theirs, merged))
    gone = (before - mine) | (before - other)
    return sorted(name for _, name in (mine | other) - gone - made)


def _names(facts: Counter[Fact]) -> set[tuple[Place, str]]:
    defining = ("import ", "class ", "FunctionDef", "AsyncFunctionDef")
    found = (fact for fact in facts if fact.slot and fact.slot != _EXIT)
    return {(fact.place, fact.slot) for fact in found if not fact.place or fact.said.startswith(defining)}


def _shown(fact: Fact) -> str:
    return f"{fact.slot or fact.said[:60]} in {'/'.join(fact.place)[-60:] or 'the file'}"


def python_facts(source: str) -> Counter[Fact]:
    """Raises Unreadable."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    try:
        return Counter(_of_block(tree.body, ()))
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error


def json_facts(text: str) -> Counter[Fact]:
    """Raises Unreadable."""
    return _values(json.loads, text)


def toml_facts(text: str) -> Counter[Fact]:
    """Raises Unreadable."""
    return _values(tomllib.loads, text)


def _values(read: Callable[[str], Any], text: str) -> Counter[Fact]:
    try:
        return Counter(_of_value(read(text) if text.strip() else {}, ()))
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def _of_value(value: Any, place: Place) -> Iterator[Fact]:
    if isinstance(value, dict):
        yield Fact(place, "table", "kind")
        for key, inner in value.items():
            yield from _of_value(inner, (*place, f"[{key}]"))
    elif isinstance(value, list):
        yield Fact(place, "list", "kind")
        yield from (Fact((*place, "[]"), repr(inner)) for inner in value)
    else:
        yield Fact(place, repr(value), "value")


def _of_block(body: list[ast.stmt], place: Place) -> Iterator[Fact]:
    for node in body:
        yield from _of_statement(node, place)


def _of_statement(node: ast.stmt, place: Place) -> Iterator[Fact]:
    match node:
        case ast.Import() | ast.ImportFrom():
            yield from _of_import(node, place)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield from _of_definition(node, place)
        case ast.If():
            yield from _of_chain(node, place)
        case ast.Return() | ast.Raise() | ast.Break() | ast.Continue():
            yield from _of_parts(node, place, _EXIT)
        case _:
            yield from _of_parts(node, place, _bound(node))


def _of_import(node: ast.Import | ast.ImportFrom, place: Place) -> Iterator[Fact]:
    origin = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else ""
    for alias in node.names:
        name = (alias.asname or alias.name).split(".")[0] if origin or alias.asname else alias.name
        yield Fact(place, f"import {origin} {alias.name} as {alias.asname}", name)


def _of_definition(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, place: Place) -> Iterator[Fact]:
    inner = (*place, node.name)
    if isinstance(node, ast.ClassDef):
        yield Fact(place, "class " + ", ".join(ast.unparse(part) for part in [*node.bases, *node.keywords]), node.name)
    else:
        yield Fact(place, type(node).__name__ + (ast.dump(node.returns) if node.returns else ""), node.name)
        yield from _of_parameters(node.args, inner)
    yield from (Fact(inner, ast.dump(decorator), "") for decorator in node.decorator_list)
    yield from _of_block(node.body, inner)


def _of_parameters(args: ast.arguments, place: Place) -> Iterator[Fact]:
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + list(args.defaults)
    for number, (arg, default) in enumerate(zip(plain, defaults, strict=True)):
        # Two sides that each add a parameter that must be given would break every call of the other.
        slot = f"parameter {arg.arg}" if default is not None else f"parameter {number}"
        yield Fact((*place, "()"), ast.dump(arg) + (ast.dump(default) if default else ""), slot)
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield Fact((*place, "()"), "*" + ast.dump(arg) + (ast.dump(default) if default else ""), f"parameter {arg.arg}")
    for kind, rest in (("*", args.vararg), ("**", args.kwarg)):
        if rest is not None:
            yield Fact((*place, "()"), ast.dump(rest), kind)


def _of_chain(node: ast.If, place: Place) -> Iterator[Fact]:
    """`if`, `elif` and `else` are beside each other, so that one more `elif` moves none of the others."""
    test = ast.dump(node.test)
    yield Fact(place, f"if {test}")
    yield from _of_block(node.body, (*place, f"if {test}"))
    if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        yield from _of_chain(node.orelse[0], place)
    else:
        yield from _of_block(node.orelse, (*place, "else"))


def _of_parts(node: ast.stmt, place: Place, slot: str) -> Iterator[Fact]:
    """A statement without its blocks, and without the entries of its lists and tables, which are facts themselves."""
    blocks = [(name, value) for name, value in ast.iter_fields(node) if _is_block(value)]
    entries: list[Fact] = []
    head = (*place, slot or type(node).__name__)
    said = type(node).__name__ + "".join(
        f" {name}={_shape(value, (*head, name), entries)}"
        for name, value in ast.iter_fields(node)
        if not _is_block(value)
    )
    yield Fact(place, said, slot)
    yield from entries
    for name, block in blocks:
        inner = (*place, said, name)
        for part in block:
            if isinstance(part, ast.stmt):
                yield from _of_statement(part, inner)
            else:
                yield Fact(inner, ast.dump(part))


def _is_block(value: Any) -> bool:
    parts = ast.stmt | ast.ExceptHandler | ast.match_case
    return isinstance(value, list) and bool(value) and all(isinstance(part, parts) for part in value)


def _shape(value: Any, place: Place, entries: list[Fact]) -> str:
    """Write an expression down with its lists, tables and keyword arguments emptied into `entries`."""
    if isinstance(value, list):
        return "[" + ", ".join(_shape(part, place, entries) for part in value) + "]"
    if not isinstance(value, ast.AST):
        return repr(value)
    if isinstance(value, ast.Dict):
        for key, inner in zip(value.keys, value.values, strict=True):
            name = ast.dump(key) if key is not None else "**"
            entries.append(Fact((*place, "{}"), _shape(inner, (*place, name), entries), name if key else ""))
        return "{}"
    if isinstance(value, ast.List | ast.Set) or (isinstance(value, ast.Tuple) and _is_constant(value)):
        entries.extend([Fact((*place, "[]"), _shape(inner, (*place, "[]"), entries)) for inner in value.elts])
        return type(value).__name__
    if isinstance(value, ast.Call):
        call = f"{_shape(value.func, place, entries)}({_shape(value.args, place, entries)})"
        for keyword in value.keywords:
            said = _shape(keyword.value, (*place, call, f"{keyword.arg}="), entries)
            entries.append(Fact((*place, call), f"{keyword.arg}={said}", keyword.arg or ""))
        return call
    fields = (f"{name}={_shape(inner, place, entries)}" for name, inner in ast.iter_fields(value))
    return f"{type(value).__name__}({', '.join(fields)})"


def _is_constant(value: ast.Tuple) -> bool:
    return len(value.elts) > 1 and all(isinstance(part, ast.Constant) for part in value.elts)


def _bound(node: ast.stmt) -> str:
    """The name that a plain assignment sets."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return ", ".join(ast.unparse(target) for target in targets)
