"""A text with conflicts as a sequence of parts: what is agreed on, and hunks with three versions each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from treadle.workspace.merge import MARKER_SIZE

_TOKENS = re.compile(r"\n|[ \t]+|\w+|[^\w\s]|\s")
_MAX_TOKENS = 4_000
_SIDES = {"<": "ours", "|": "base", "=": "theirs", ">": ""}


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that both sides changed."""

    base: str
    ours: str
    theirs: str


Part = str | Hunk


def parts_of(text: str) -> list[Part]:
    """Take a text with git's markers apart. Raises ValueError if the markers are not in form."""
    parts: list[Part] = []
    sides: dict[str, list[str]] = {}
    at = ""
    agreed: list[str] = []
    for line in text.splitlines(keepends=True):
        mark = _mark(line)
        if mark is None:
            (sides[at] if at else agreed).append(line)
        elif mark == "<" and not at:
            parts, agreed, sides, at = [*parts, "".join(agreed)], [], {"ours": [], "base": [], "theirs": []}, "ours"
        elif at and mark != "<":
            at = _SIDES[mark]
            if not at:
                parts.append(Hunk(*("".join(sides[side]) for side in ("base", "ours", "theirs"))))
        else:
            raise ValueError("conflict markers in the wrong order")
    if at:
        raise ValueError("a conflict without an end")
    return [part for part in [*parts, "".join(agreed)] if part]


def _mark(line: str) -> str | None:
    char = line[:1]
    is_mark = char in _SIDES and line.startswith(char * MARKER_SIZE) and line[MARKER_SIZE : MARKER_SIZE + 1] in " \n\r"
    return char if is_mark and char else None


def filled(parts: Sequence[Part], side: str, replacing: dict[int, str] | None = None) -> str:
    """The text with one side's version in every hunk, but for hunks (by index in `parts`) that are given."""
    texts = replacing or {}
    return "".join(
        texts.get(number, getattr(part, side)) if isinstance(part, Hunk) else part for number, part in enumerate(parts)
    )


def candidates(hunk: Hunk) -> Iterator[str]:
    """Merged versions of a hunk that keep what each side did, likelier ones first. Whether one is right is not known.

    Lines first, then words: changes that do not overlap are made both, and where both sides inserted something, it
    comes one behind the other.
    """
    if hunk.ours == hunk.theirs or hunk.theirs == hunk.base:
        yield hunk.ours
        return
    if hunk.ours == hunk.base:
        yield hunk.theirs
        return
    seen = set()
    for split in (_lines, _words):
        base, ours, theirs = split(hunk.base), split(hunk.ours), split(hunk.theirs)
        if max(len(base), len(ours), len(theirs)) > _MAX_TOKENS:
            continue
        for way in (_all, _once, _behind_prefix, _after_comma):
            merged = _merged(base, ours, theirs, way)
            if merged is not None and merged not in seen:
                seen.add(merged)
                yield merged


def _lines(text: str) -> list[str]:
    return [line if line.endswith("\n") else line + "\n" for line in text.splitlines(keepends=True)]


def _words(text: str) -> list[str]:
    return _TOKENS.findall(text)


_Edit = tuple[int, int, list[str]]
_Way = Callable[[list[str], list[str]], list[str]]


def _edits(base: list[str], side: list[str]) -> list[_Edit]:
    matcher = difflib.SequenceMatcher(None, base, side, autojunk=False)
    return [(i1, i2, side[j1:j2]) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"]


def _merged(base: list[str], ours: list[str], theirs: list[str], way: _Way) -> str | None:
    """Make the edits of both sides, or return None where they overlap."""
    mine, other = _edits(base, ours), _edits(base, theirs)
    out: list[str] = []
    at = 0
    while mine or other:
        both = mine and other and mine[0][:2] == other[0][:2]
        if both and (mine[0][0] == mine[0][1] or mine[0][2] == other[0][2]):
            start, end, text = mine.pop(0)
            more = other.pop(0)[2]
            new = text if text == more else way(text, more)
        else:
            first, rest = (mine, other) if not other or (mine and mine[0][:2] <= other[0][:2]) else (other, mine)
            start, end, new = first.pop(0)
            if both or (rest and rest[0][0] < end):
                return None
        if start < at:
            return None
        out += [*base[at:start], *new]
        at = end
    return "".join([*out, *base[at:]])


def _all(ours: list[str], theirs: list[str]) -> list[str]:
    return [*ours, *theirs]


def _once(ours: list[str], theirs: list[str]) -> list[str]:
    """What both inserted is there once."""
    return [*ours, *(part for part in theirs if not part.strip() or part not in ours)]


def _after_comma(ours: list[str], theirs: list[str]) -> list[str]:
    """For entries of a list of which neither side's last has a comma."""
    end = max((number for number, part in enumerate(ours, start=1) if part.strip()), default=0)
    return [*ours[:end], ",", *ours[end:], *theirs]


def _behind_prefix(ours: list[str], theirs: list[str]) -> list[str]:
    """What both inserts begin with is there once."""
    same = 0
    while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
        same += 1
    return [*ours, *theirs[same:]]
