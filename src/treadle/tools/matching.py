"""Finding the piece of a text that a model means, though it may not have quoted it exactly. Pure.

Exact first; then with other white space; then with other quotation marks and dashes; then nearly the same. Each way
must find one place only: of several, none is taken, for a wrong edit costs more than a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

How = Literal["exact", "white space", "characters", "similar"]

ALIKE = 0.9
"""How alike a piece must be to be taken for the one that was meant, where it is not the same."""
_CLEARLY = 0.05
"""By how much it must be more alike than the next best."""
_NEAR = 0.6
"""From here on a piece is worth showing to the model."""
_SIMILAR_LINES = 2
_SIMILAR_CHARACTERS = 40
"""Shorter pieces are not guessed: `a + b` and `a - b` are alike, and not the same."""

_WORK = 2_000_000
"""Lines of the text times lines of the piece. Beyond it nothing is guessed."""
_LOOKED_AT = 6
"""Places that are looked at closely: those that share most with the piece at first sight, and as many elsewhere."""
_COMPARED = 300
"""Pairs of lines that are compared. Beyond it they count as different."""
_LINE = 160
"""Characters of a line that are compared. A piece with longer ones is not guessed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece was found."""

    start: int
    end: int
    how: How
    alike: float = 1.0
    lines: Sequence[str] = ()
    """The lines of the whole text, where it is not exact: one sequence for all places."""
    last: int = 0
    """The line behind it."""
    numbers: Sequence[int] = ()
    """For each line that the model quoted, which line of the text it is; -1: none, it is empty."""


def find_exact(text: str, old: str) -> list[Place]:
    """Every place where the piece stands as it is, without overlaps."""
    places, at = [], text.find(old)
    while at >= 0:
        places.append(Place(at, at + len(old), "exact"))
        at = text.find(old, at + max(len(old), 1))
    return places


def find_by_lines(text: str, old: str) -> list[Place]:
    """Every place where whole lines are the same but for white space: at their ends, then of their indentation, then
    anywhere; but for quotation marks and dashes that look alike; but for empty lines. The first that finds any counts.
    """
    lines, wanted = _Lines(text), quoted_lines(old)
    for plain, how in _WAYS:
        key = [plain(line) for line in wanted]
        if not any(key):
            return []
        there = [plain(line) for line in lines.texts]
        found = [at for at in lines.windows(len(key)) if there[at] == key[0] and there[at : at + len(key)] == key]
        if found:
            return [lines.place(at, old, how) for at in found]
    return lines.without_empty_ones(old)


def find_similar(text: str, old: str) -> tuple[list[Place], list[Place]]:
    """The one piece that is nearly the same, if it is clear which; and the pieces that are worth showing."""
    lines, wanted = _Lines(text), quoted_lines(old)
    found = [rating for rating in _rated(lines, wanted) if rating[0] >= _NEAR]
    near = [lines.place(at, old, "similar", alike) for alike, at in found[:3]]
    is_long = len(wanted) >= _SIMILAR_LINES and sum(map(len, wanted)) >= _SIMILAR_CHARACTERS
    if not near or not is_long or near[0].alike < ALIKE:
        return [], near
    is_seen = max(map(len, [*wanted, *text[near[0].start : near[0].end].split("\n")])) <= _LINE
    is_clear = is_seen and (len(near) == 1 or near[1].alike < near[0].alike - _CLEARLY)
    return ([near[0]] if is_clear else []), near


def quoted_lines(old: str) -> list[str]:
    """The lines of a piece, without empty ones around it."""
    return old.strip("\n").split("\n")


class _Lines:
    """A text by its lines, each with the place where it begins."""

    def __init__(self, text: str) -> None:
        self.texts = text.split("\n")
        self.starts = [0]
        for line in self.texts:
            self.starts.append(self.starts[-1] + len(line) + 1)
        if len(self.texts) > 1 and not self.texts[-1]:  # what follows the last newline is no line
            self.texts.pop()
        self._length = len(text)

    def windows(self, size: int) -> range:
        return range(len(self.texts) - size + 1)

    def place(self, at: int, old: str, how: How, alike: float = 1.0) -> Place:
        """The whole lines from `at` on that stand for `old`; with the last line's end if `old` has one."""
        size = len(quoted_lines(old))
        return self._place(at, at + size, old, how, range(at, at + size), alike)

    def without_empty_ones(self, old: str) -> list[Place]:
        """Every place where lines are the same but for white space, wherever empty ones stand between them."""
        wanted, known = quoted_lines(old), [at for at, line in enumerate(self.texts) if line.strip()]
        there, key = [bare(self.texts[at]) for at in known], [bare(line) for line in wanted if line.strip()]
        if len(key) < _SIMILAR_LINES:
            return []
        places: list[Place] = []
        for first in range(len(there) - len(key) + 1):
            if there[first] == key[0] and there[first : first + len(key)] == key:
                at, last = known[first], known[first + len(key) - 1]
                own = iter(known[first : first + len(key)])
                numbers = [next(own) if line.strip() else -1 for line in wanted]
                if len(places) * len(numbers) > _WORK:
                    return []
                places.append(self._place(at, last + 1, old, "white space", numbers))
        return places

    def _place(self, at: int, last: int, old: str, how: How, numbers: Sequence[int], alike: float = 1.0) -> Place:
        end = min(self.starts[last] - (0 if old.endswith("\n") else 1), self._length)
        return Place(self.starts[at], end, how, alike, self.texts, last, numbers)


def _rated(lines: _Lines, wanted: Sequence[str]) -> list[tuple[float, int]]:
    """How alike the places are that share most with a piece, the best first; none overlaps a better one."""
    there, key = [line.strip()[:_LINE] for line in lines.texts], [line.strip()[:_LINE] for line in wanted]
    if len(there) * len(key) > _WORK:
        return []
    glances = _glances(there, key)
    in_order = sorted(lines.windows(len(key)), key=lambda at: -glances[at])
    best = in_order[:_LOOKED_AT]
    best += [at for at in in_order[_LOOKED_AT:] if best and abs(at - best[0]) >= len(key)][:_LOOKED_AT]
    known: dict[tuple[str, str], float] = {}
    rated = sorted(((_alike(there[at : at + len(key)], key, known), at) for at in best), key=lambda one: -one[0])
    apart: list[tuple[float, int]] = []
    for alike, at in rated:
        if all(abs(at - other) >= len(key) for _, other in apart):
            apart.append((alike, at))
    return apart


def _glances(there: Sequence[str], key: Sequence[str]) -> list[float]:
    """How much each place shares with a piece at first sight: lines that are the same; of a short piece, characters."""
    if len(key) > _SIMILAR_LINES:
        pairs = [[line == wanted for line in there] for wanted in key]
        size = len(there) - len(key) + 1
        return [sum(pairs[number][at + number] for number in range(len(key))) for at in range(size)]
    kinds = [set(line) for line in there]
    wanted_kinds = [set(line) for line in key]
    return [
        sum(
            len(kinds[at + number] & wanted) / (len(kinds[at + number] | wanted) or 1)
            for number, wanted in enumerate(wanted_kinds)
        )
        for at in range(len(there) - len(key) + 1)
    ]


def _alike(window: Sequence[str], key: Sequence[str], known: dict[tuple[str, str], float]) -> float:
    """From 0 to 1: line by line, longer lines counting for more. Comparisons are kept in `known`."""
    total = weights = 0.0
    for pair in zip(window, key, strict=True):
        is_same = pair[0] == pair[1]
        if not is_same and pair not in known and len(known) < _COMPARED:
            known[pair] = SequenceMatcher(None, *pair, autojunk=False).ratio()
        weight = len(pair[0]) + len(pair[1]) + 1
        weights += weight
        total += (1.0 if is_same else known.get(pair, 0.0)) * weight
    return total / weights


def bare(line: str) -> str:
    """The line without white space, also such as nobody sees."""
    return _SPACE.sub("", line)


def _without_looks(line: str) -> str:
    return bare(line).translate(_LOOKS)


_SPACE = re.compile("[\\s\u200b\u200c\u200d\u2060\ufeff]+")
_LOOKS = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-"),
}
"""Characters that models write for one another. One for one: the places of the others stay."""
_WAYS: tuple[tuple[Callable[[str], str], How], ...] = (
    (str.rstrip, "white space"),
    (str.strip, "white space"),
    (bare, "white space"),
    (_without_looks, "characters"),
)
