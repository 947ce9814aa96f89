"""Changing pieces of a text file as a model asks for it, or saying so that it can ask better. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from treadle.errors import Refused
from treadle.tools.fitting import fitted
from treadle.tools.matching import Place, find_by_lines, find_exact, find_similar, quoted_lines
from treadle.tools.text import FileText

_SHOWN_LINES = 12
_SHOWN_PLACES = 5
_NUMBERED = re.compile(r"^ *\d+(?:\t|[:|] ?)", re.MULTILINE)
_FENCED = re.compile(r"\A```[\w+.-]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_ELIDED = re.compile(
    r"^[ \t]*(?:#|//|--|/\*|<!--|;)[ \t]*(?:\.\.\.|\N{HORIZONTAL ELLIPSIS})"
    r"[^\n]*\b(?:existing|rest|unchanged|remaining|same|previous|other|omitted)\b[^\n]*$",
    re.MULTILINE | re.IGNORECASE,
)
"""A line by which a model says that it left lines out: `# ... rest of the code ...`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One piece of a file, and what is to stand there instead."""

    old: str
    new: str
    all: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one change."""

    how: str
    """`exact`; `white space`: only that differed from what was quoted; `characters`: quotation marks or dashes did too;
    `similar`: see `alike`."""
    lines: tuple[tuple[int, int], ...]
    """First and last line of each place, from 1, in the text that the change met."""
    alike: float = 1.0
    without: str = ""
    """What was left out of the quotation, and stands around it only: `line numbers`, or `a fence`."""

    def __str__(self) -> str:
        where = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.lines)
        at = f"line{'s' if where != str(self.lines[0][0]) else ''} {where}"
        told = {
            "exact": "found as quoted",
            "white space": "found with other white space than quoted; indented as it was there",
            "characters": "found with other quotation marks or dashes than quoted; written as they were there",
        }
        how = told.get(self.how, f"not as quoted but {percent(self.alike)} alike")
        return f"{at}, {how}{f', without {self.without}' if self.without else ''}"


def make_changes(file: FileText, changes: Sequence[Change]) -> tuple[FileText, list[Made]]:
    """Make changes one after the other: all of them, or none.

    Raises:
        Refused: A change names no piece, or more than one; the message shows the candidates.
    """
    made = []
    for number, change in enumerate(changes, start=1):
        which = f"Change {number}" if len(changes) > 1 else "The change"
        file, one = _make(file, _plain(change, file), which)
        made.append(one)
    return file, made


def _make(file: FileText, change: Change, which: str) -> tuple[FileText, Made]:
    text = file.text
    _refuse_empty(change, text, which)
    _refuse_elided(change, text, which)
    if not change.old:  # of an empty file
        return file.replaced([(0, 0, change.new)]), Made("exact", ((1, 1),))
    change, without, places, near = _found(text, change)
    if not places:
        raise _not_found(text, change.old, near, which)
    if len(places) > 1 and not change.all:
        raise _ambiguous(text, change.old, places, which)
    spans: list[tuple[int, int, str]] = []
    for place in places:
        if spans and place.start < spans[-1][1]:
            continue  # it overlaps the one before
        new = fitted(change.new, change.old, place)
        if place.how != "exact" and place.end == len(text) and not text.endswith("\n"):
            new = new.removesuffix("\n")
        spans.append((place.start, place.end, new))
    best = places[0]
    where = tuple(_lines_of(text, start, end) for start, end, _ in spans)
    return file.replaced(spans), Made(best.how, where, best.alike, without)


def _found(text: str, change: Change) -> tuple[Change, str, list[Place], list[Place]]:
    """The change as it is meant, what its quotation is without, where it fits, and the places that come near."""
    for one, without in _readings(change):
        places = find_exact(text, one.old) or find_by_lines(text, one.old)
        if places:
            return one, without, places, []
    return change, "", *find_similar(text, change.old)


def _readings(change: Change) -> Iterator[tuple[Change, str]]:
    """The change, and what it may be meant to be if it fits no place: models quote what they are shown."""
    yield change, ""
    if change.old.strip() and _is_numbered(change.old):
        new = _NUMBERED.sub("", change.new) if _is_numbered(change.new) else change.new
        yield Change(_NUMBERED.sub("", change.old), new, change.all), "line numbers"
    fenced = _FENCED.match(change.old)
    if fenced:
        inner = _FENCED.match(change.new)
        yield Change(fenced[1], inner[1] if inner else change.new, change.all), "a fence"


def _is_numbered(text: str) -> bool:
    return all(_NUMBERED.match(line) for line in text.split("\n") if line.strip())


def _plain(change: Change, file: FileText) -> Change:
    """The change with the line ends of `text`, and without the mark that the file has before its text."""
    old, new = change.old.replace("\r\n", "\n"), change.new.replace("\r\n", "\n")
    if file.mark:
        old, new = old.removeprefix("\ufeff"), new.removeprefix("\ufeff")
    return Change(old, new, change.all)


def _refuse_empty(change: Change, text: str, which: str) -> None:
    if change.old == change.new:
        raise Refused(f"{which} changes nothing: `old` and `new` are the same.", hint="Leave it out.")
    if not change.old and text:
        raise Refused(
            f"{which} has an empty `old`; nothing was changed.",
            hint="Quote the lines that the new text goes beside, and repeat them in `new`.",
        )


def _refuse_elided(change: Change, text: str, which: str) -> None:
    """A line that stands for lines would take their place in the file."""
    elided = next((line[0] for line in _ELIDED.finditer(change.new) if line[0] not in text), None)
    if elided is not None:
        raise Refused(
            f"{which} has the line {elided.strip()!r} in `new`, which would stand in the file; nothing was changed.",
            hint="Write out all that is to stand there, or quote fewer lines, each change on its own.",
        )


def _ambiguous(text: str, old: str, places: Sequence[Place], which: str) -> Refused:
    shown = "\n".join(_around(text, place) for place in places[:_SHOWN_PLACES])
    more = f"\n... and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
    return Refused(
        f"{which} fits {len(places)} places, so nothing was changed:\n{shown}{more}",
        hint="Quote more lines around the one that is meant, or set `all` to change every one.",
    )


def _not_found(text: str, old: str, near: Sequence[Place], which: str) -> Refused:
    is_elided = _ELIDED.search(old) or any(line.strip() in ("...", "# ...", "// ...") for line in quoted_lines(old))
    if not near or is_elided:
        hint = "Read the file again, and quote what stands there."
        if is_elided:
            hint = (
                "`...` stands for no lines: quote every one, or make one change of the first lines and one of the last."
            )
        return Refused(f"{which} fits no place: `old` is not in the file. Nothing was changed.", hint=hint)
    best = near[0]
    first, last = _lines_of(text, best.start, best.end)
    shown = _cut(text[best.start : best.end])
    others = ", ".join(str(_lines_of(text, place.start, place.end)[0]) for place in near[1:])
    also = f" Others begin at line {others}." if others else ""
    return Refused(
        f"{which} fits no place, so nothing was changed. The nearest is {percent(best.alike)} alike, "
        f"lines {first}-{last}:\n{shown}\n",
        hint=f"Quote these lines as they stand there, if they are meant.{also}",
    )


def _around(text: str, place: Place) -> str:
    """A candidate with the line before it, for telling it from the others."""
    first, last = _lines_of(text, place.start, place.end)
    lines = text.split("\n")
    before = [f"{first - 1}: {lines[first - 2]}"] if first > 1 else []
    shown = [f"{number}: {lines[number - 1]}" for number in range(first, min(last, first + 1) + 1)]
    return "\n".join(line[:200] for line in ["--", *before, *shown])


def percent(share: float) -> str:
    """Rounded down: what is not the same is not 100% alike."""
    return f"{int(share * 100)}%"


def _lines_of(text: str, start: int, end: int) -> tuple[int, int]:
    first = text.count("\n", 0, start) + 1
    inner = text[start:end].removesuffix("\n")
    return first, first + inner.count("\n")


def _cut(text: str) -> str:
    lines = quoted_lines(text)
    more = [f"... {len(lines) - _SHOWN_LINES} more lines"] if len(lines) > _SHOWN_LINES else []
    return "\n".join([*(line[:300] for line in lines[:_SHOWN_LINES]), *more])
