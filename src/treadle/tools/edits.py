"""Changing pieces of a text file as a model asks for it, or saying so that it can ask better. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.errors import Refused
from treadle.tools.matching import Place, find_by_lines, find_exact, find_similar, fitted, quoted_lines
from treadle.tools.text import FileText

_SHOWN_LINES = 12
_SHOWN_PLACES = 5


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
    """`exact`, `white space`: only that differed from what was quoted; `similar`: see `alike`."""
    lines: tuple[tuple[int, int], ...]
    """First and last line of each place, from 1, in the text that the change met."""
    alike: float = 1.0
    replaced: str = ""
    """What stood there, where it was not what was quoted."""

    def __str__(self) -> str:
        where = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.lines)
        at = f"line{'s' if where != str(self.lines[0][0]) else ''} {where}"
        if self.how == "exact":
            return f"{at}, found as quoted"
        if self.how == "white space":
            return f"{at}, found with other white space than quoted; indented as it was there"
        return f"{at}, not as quoted but {self.alike:.0%} alike. What stood there:\n{_cut(self.replaced)}"


def make_changes(file: FileText, changes: Sequence[Change]) -> tuple[FileText, list[Made]]:
    """Make changes one after the other: all of them, or none.

    Raises:
        Refused: A change names no piece, or more than one; the message shows the candidates.
    """
    made = []
    for number, change in enumerate(changes, start=1):
        which = f"Change {number}" if len(changes) > 1 else "The change"
        file, one = _make(file, _plain(change), which)
        made.append(one)
    return file, made


def _make(file: FileText, change: Change, which: str) -> tuple[FileText, Made]:
    text = file.text
    _refuse_empty(change, text, which)
    if not change.old:  # of an empty file
        return file.replaced([(0, 0, change.new)]), Made("exact", ((1, 1),))
    places = find_exact(text, change.old) or find_by_lines(text, change.old)
    near: list[Place] = []
    if not places:
        places, near = find_similar(text, change.old)
    if not places:
        raise _not_found(text, near, which)
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
    replaced = "" if best.how == "exact" else text[best.start : best.end]
    where = tuple(_lines_of(text, start, end) for start, end, _ in spans)
    return file.replaced(spans), Made(best.how, where, best.alike, replaced)


def _plain(change: Change) -> Change:
    return Change(change.old.replace("\r\n", "\n"), change.new.replace("\r\n", "\n"), change.all)


def _refuse_empty(change: Change, text: str, which: str) -> None:
    if change.old == change.new:
        raise Refused(f"{which} changes nothing: `old` and `new` are the same.", hint="Leave it out.")
    if not change.old and text:
        raise Refused(
            f"{which} has an empty `old`; nothing was changed.",
            hint="Quote the lines that the new text goes beside, and repeat them in `new`.",
        )


def _ambiguous(text: str, old: str, places: Sequence[Place], which: str) -> Refused:
    shown = "\n".join(_around(text, place) for place in places[:_SHOWN_PLACES])
    more = f"\n... and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
    return Refused(
        f"{which} fits {len(places)} places, so nothing was changed:\n{shown}{more}",
        hint="Quote more lines around the one that is meant, or set `all` to change every one.",
    )


def _not_found(text: str, near: Sequence[Place], which: str) -> Refused:
    if not near:
        hint = "Read the file again, and quote what stands there."
        return Refused(f"{which} fits no place: `old` is not in the file. Nothing was changed.", hint=hint)
    best = near[0]
    first, last = _lines_of(text, best.start, best.end)
    shown = _cut(text[best.start : best.end])
    others = ", ".join(str(_lines_of(text, place.start, place.end)[0]) for place in near[1:])
    also = f" Others begin at line {others}." if others else ""
    return Refused(
        f"{which} fits no place, so nothing was changed. The nearest is {best.alike:.0%} alike, "
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


def _lines_of(text: str, start: int, end: int) -> tuple[int, int]:
    first = text.count("\n", 0, start) + 1
    inner = text[start:end].removesuffix("\n")
    return first, first + inner.count("\n")


def _cut(text: str) -> str:
    lines = quoted_lines(text)
    more = [f"... {len(lines) - _SHOWN_LINES} more lines"] if len(lines) > _SHOWN_LINES else []
    return "\n".join([*(line[:300] for line in lines[:_SHOWN_LINES]), *more])
