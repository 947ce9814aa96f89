"""YAML as a tree that knows file, line and path of each value, and readers that collect everything that is wrong.

What a key means is for the module that reads it. YAML 1.2: `no` and `on` are text. Tags and code are not understood.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from treadle.errors import Problem, nearest

_MAX_BYTES = 1_000_000
_MAX_VALUES = 50_000
"""Aliases may say one thing many times over."""
_MAX_DEPTH = 40
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a file, and where it stands."""

    value: Any
    """None, bool, int, float, str, a list of nodes, or a dict of nodes."""
    file: str
    line: int
    path: str = ""

    def problem(self, what: str, hint: str = "") -> Problem:
        return Problem(what, hint, self.file, self.line, self.path)

    def plain(self) -> Any:
        """The value without the places: for what is not ours to read key by key."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        return [node.plain() for node in self.value] if isinstance(self.value, list) else self.value

    @property
    def kind(self) -> str:
        """What it is, in words."""
        names = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
        more: dict[type, str] = {dict: "a mapping", list: "a list", type(None): "nothing"}
        return (names | more)[type(self.value)]


def read_yaml(path: Path, problems: list[Problem]) -> Node | None:
    """Read a file. None, and a problem, if it cannot be read at all."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            problems.append(Problem(f"It has {size:,} bytes; at most {_MAX_BYTES:,} are read.", file=str(path)))
            return None
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        problems.append(Problem(f"It cannot be read ({why}).", file=str(path)))
        return None
    return parse_yaml(text, str(path), problems)


def parse_yaml(text: str, file: str, problems: list[Problem]) -> Node | None:
    """Read YAML text. An empty one is an empty mapping. None, and a problem, if it is no YAML."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = str(getattr(error, "problem", None) or "a character that YAML does not allow")
        problems.append(Problem(f"It is no YAML: {what}.", file=file, line=mark.line + 1 if mark else 0))
        return None
    except RecursionError:
        problems.append(Problem("It is no YAML that can be read: it is nested too deeply.", file=file))
        return None
    return Node({}, file, 1) if root is None else _Reader(file, problems).node(root, "", 0)


class _Reader:
    """Turns composed nodes into ours."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file = file
        self._problems = problems
        self._count = 0

    def node(self, found: Any, path: str, depth: int) -> Node:
        line = found.start_mark.line + 1
        self._count += 1
        if self._count > _MAX_VALUES or depth > _MAX_DEPTH:
            if self._count <= _MAX_VALUES or self._count == _MAX_VALUES + 1:
                self._add("It says too much, by nesting or by aliases; the rest was not read.", line, path)
            self._count = _MAX_VALUES + 2
            return Node(None, self._file, line, path)
        if isinstance(found, MappingNode):
            return Node(self._mapping(found, path, depth), self._file, line, path)
        if isinstance(found, SequenceNode):
            items = [self.node(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(found.value)]
            return Node(items, self._file, line, path)
        return Node(self._scalar(found, line, path), self._file, line, path)

    def _mapping(self, found: Any, path: str, depth: int) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in found.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                self._add("A key is a list or a mapping; a name is expected.", line, path)
                continue
            name = str(key.value)
            if key.tag == f"{_TAG}merge":
                for part in value.value if isinstance(value, SequenceNode) else [value]:
                    inner = self.node(part, path, depth + 1).value
                    merged = {**(inner if isinstance(inner, dict) else {}), **merged}
                continue
            inner_path = f"{path}.{name}" if path else name
            if name in own:
                self._add(f"{name!r} is given twice, first in line {own[name].line}.", line, inner_path)
            node = self.node(value, inner_path, depth + 1)
            # A value on the lines below its key is looked for at its key.
            own[name] = Node(node.value, self._file, line, inner_path)
        return {**merged, **own}

    def _scalar(self, found: Any, line: int, path: str) -> object:
        text, tag = str(found.value), str(found.tag).removeprefix(_TAG)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() in ("true", "yes", "on")
        if tag in ("int", "float"):
            try:
                return (
                    int(text.replace("_", ""), 10 if text.lstrip("+-0")[:1].isdigit() else 0)
                    if tag == "int"
                    else (float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan")))
                )
            except ValueError:
                return text
        if tag not in ("str", "timestamp"):
            self._add(f"The tag {found.tag!r} is not understood.", line, path)
        return text

    def _add(self, what: str, line: int, path: str) -> None:
        self._problems.append(Problem(what, "", self._file, line, path))


class Section:
    """A mapping of a file that is read key by key. What is wrong is collected; `finish` finds what nobody asked for."""

    def __init__(self, node: Node, problems: list[Problem], aliases: Mapping[str, str] | None = None) -> None:
        self.node = node
        self.problems = problems
        self._known: set[str] = set()
        self._entries: dict[str, Node] = {}
        if node.value is None:
            return
        if not isinstance(node.value, dict):
            problems.append(node.problem(f"It is {node.kind}; a mapping is expected."))
            self._known, self._entries = {"*"}, {}
            return
        for name, value in node.value.items():
            self._entries.setdefault((aliases or {}).get(name, name), value)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def take(self, name: str) -> Node | None:
        """The value of a key, if it is given and not empty."""
        self._known.add(name)
        node = self._entries.get(name)
        return None if node is None or node.value is None else node

    def text(self, name: str) -> str:
        """A text; numbers count as what they look like. Empty if it is not given."""
        node = self.take(name)
        if node is None:
            return ""
        if isinstance(node.value, bool) or not isinstance(node.value, str | int | float):
            self.wrong(node, "text")
            return ""
        return str(node.value)

    def number(self, name: str, *, low: float = 0.0, zero: str = "") -> float | None:
        """A number, not less than `low`. With `zero`, it is more than that, and `zero` says what to write instead."""
        node = self.take(name)
        if node is None:
            return None
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.wrong(node, "a number")
            return None
        if value < low or (zero and value == low):
            self.problems.append(node.problem(f"It is {value}; more is expected." if zero else _less(value, low), zero))
            return None
        return float(value)

    def whole(self, name: str, *, low: int = 1, high: int = 1 << 31, zero: str = "") -> int | None:
        """A whole number between bounds; `32k` is 32 * 1024."""
        node = self.take(name)
        if node is None:
            return None
        value = node.value
        if isinstance(value, str) and value[-1:] in "kK" and value[:-1].isdecimal():
            value = int(value[:-1]) * 1024
        if isinstance(value, bool) or not isinstance(value, int):
            self.wrong(node, "a whole number")
            return None
        if not low <= value <= high:
            bounds = f"It is {value}; {low} or more is expected." if value < low else f"It is {value}; at most {high}."
            self.problems.append(node.problem(bounds, zero if value < low else ""))
            return None
        return value

    def choice(self, name: str, known: Collection[str], aliases: Mapping[str, str] | None = None) -> str:
        """One of the known names; empty if it is not given or not known."""
        node = self.take(name)
        return "" if node is None else self.known(node, known, aliases)

    def known(self, node: Node, known: Collection[str], aliases: Mapping[str, str] | None = None) -> str:
        """A value that has to be one of the known names; empty, and a problem, if it is not."""
        value = (aliases or {}).get(str(node.value), node.value)
        if not isinstance(value, str):
            self.wrong(node, "one of " + ", ".join(known))
            return ""
        if value not in known:
            self.problems.append(node.problem(f"{value!r} is not known here.", nearest(value, known)))
            return ""
        return value

    def items(self, name: str) -> list[Node]:
        """A list; a single value counts as a list of one."""
        node = self.take(name)
        if node is None:
            return []
        return cast("list[Node]", node.value) if isinstance(node.value, list) else [node]

    def entries(self, name: str = "") -> Iterator[tuple[str, Node]]:
        """The entries of the mapping at a key, or of this one."""
        node = self.node if not name else self.take(name)
        if node is None or node.value is None:
            return
        if not isinstance(node.value, dict):
            if name:
                self.wrong(node, "a mapping")
            return
        self._known |= set(self._entries) if not name else set()
        yield from node.value.items()

    def wrong(self, node: Node, expected: str) -> None:
        shown = f" ({node.value!r})" if isinstance(node.value, str | int | float) else ""
        self.problems.append(node.problem(f"It is {node.kind}{shown}; {expected} is expected."))

    def finish(self) -> None:
        """Tell of keys that mean nothing here."""
        if "*" in self._known:
            return
        for name, node in self._entries.items():
            if name not in self._known:
                self.problems.append(node.problem(f"There is no key {name!r} here.", nearest(name, self._known)))


def _less(value: float, low: float) -> str:
    return f"It is {value}; {low:g} or more is expected."
