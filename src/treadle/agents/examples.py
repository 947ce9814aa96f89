"""Examples that a person gave: `f(1) == 2`, doctests, `f(1) ➞ 2`. They are the only tests that are taken as truth.

Nothing is guessed: what cannot be read as a call of a known function with a literal result is no example.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_RESULT = re.compile(
    r"`?[ \t]*(?:#[ \t]*)?"
    r"(?:==>|===|==|=>|->|➞|→|=(?!=)|(?:should\s+)?returns?:?|should\s+(?:be|equal)|gives?|is(?=\s))[ \t]*"
)
_CONSTANTS = {"true": "True", "false": "False", "null": "None", "none": "None"}
_AFTER = re.compile(r"\s*(?:$|[#,.;:)`]|\w|[\"'])")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Example:
    """One call and its result, both as Python source."""

    call: str
    expected: str

    def assertion(self) -> str:
        """Write the example as an assert statement."""
        value = ast.literal_eval(self.expected)
        if value is None or isinstance(value, bool):
            return f"assert {self.call} {'is' if value is None else '=='} {self.expected}"
        if isinstance(value, float):
            return f"assert abs({self.call} - ({self.expected})) < 1e-6"
        return f"assert {self.call} == {self.expected}"


def find_examples(text: str, names: Iterable[str]) -> list[Example]:
    """Find the examples for the named functions in a text, in order and without repeats."""
    known = set(names)
    found = [*_doctests(text, known), *_inline(text, known)]
    first: dict[str, Example] = {}
    for example in found:
        first.setdefault(example.call, example)
    return list(first.values())


def _doctests(text: str, names: set[str]) -> Iterator[Example]:
    for match in re.finditer(r">>>[ \t]*(.+)\n[ \t]*(.+)$", text, re.MULTILINE):
        call = match[1].split("  #")[0].split(" # ")[0].strip()
        expected = None if match[2].strip()[:3] in ('"""', "'''") else _literal(match[2].strip())
        if expected is not None and _is_call(call, names):
            yield Example(call, expected)


def _inline(text: str, names: set[str]) -> Iterator[Example]:
    for match in re.finditer(r"(?<![\w.])([A-Za-z_]\w*)\(", text):
        if match[1] not in names:
            continue
        end = _closing(text, match.end() - 1)
        if end is None:
            continue
        call = " ".join(text[match.start() : end].split("\n"))
        result = _RESULT.match(text, end)
        if result is None or not _is_call(call, names, literal=True):
            continue
        expected = _literal(text[result.end() :].split("\n")[0].strip()) or _literal(_balanced(text[result.end() :]))
        if expected is not None:
            yield Example(call, expected)


def _is_call(source: str, names: set[str], *, literal: bool = False) -> bool:
    """Tell whether this is an expression that calls one of `names` and needs nothing else that is not built in."""
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError):
        return False
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    allowed = names if literal else names | set(dir(builtins)) | bound
    return bool(used & names) and used <= allowed


def _literal(text: str) -> str | None:
    """Return the literal that the text is, or starts with if what follows is clearly not part of it; else None."""
    text = text.strip().strip("`").removesuffix(".")
    for candidate in (
        text,
        text.split("#")[0].strip(),
        _balanced(text),
        re.split(r"[\s,;]", text + " ")[0].rstrip(".,;"),
    ):
        candidate = _CONSTANTS.get(candidate, candidate)
        rest = text[len(candidate) :] if text.startswith(candidate) else ""
        if candidate and _is_literal(candidate) and _AFTER.match(rest):
            return candidate
    return _literal(text.rpartition(" = ")[2]) if " = " in text else None


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _balanced(text: str) -> str:
    """Cut off after the bracket or quote that the text opens with is closed; '' if it opens with neither."""
    text = text.lstrip(" \t")
    if text[:1] in _CLOSING:
        return text[: _closing(text, 0) or 0]
    quoted = re.match(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", text)
    return quoted[0] if quoted else ""


def _closing(text: str, start: int) -> int | None:
    """Return the position behind the bracket that closes the one at `start`."""
    waiting: list[str] = []
    quote = ""
    skip = False
    for position in range(start, min(len(text), start + 2000)):
        char = text[position]
        if skip:
            skip = False
        elif quote:
            skip, quote = char == "\\", "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _CLOSING:
            waiting.append(_CLOSING[char])
        elif waiting and char == waiting[-1]:
            waiting.pop()
            if not waiting:
                return position + 1
    return None
