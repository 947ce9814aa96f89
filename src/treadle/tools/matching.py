"""Finding the piece of a text that a model means, though it may not have quoted it exactly. Pure.

Exact first; then with other white space; then nearly the same. Each way must find one place only: of several, none is
taken, for a wrong edit costs more than a question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

How = Literal["exact", "white space", "similar"]

ALIKE = 0.9
"""How alike a piece must be to be taken for the one that was meant, where it is not the same."""
_CLEARLY = 0.05
"""By how much it must be more alike than the next best."""
_NEAR = 0.6
"""From here on a piece is worth showing to the model."""
_SIMILAR_LINES = 2
_SIMILAR_CHARACTERS = 40
"""Shorter pieces are not guessed: `a + b` and `a - b` are alike, and not the same."""
_SPACES_PER_TAB = 4
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
    indents: tuple[tuple[str, str], ...] = ()
    """Each indentation that the model wrote, with the one that stands there."""


def find_exact(text: str, old: str) -> list[Place]:
    """Every place where the piece stands as it is, without overlaps."""
    places, at = [], text.find(old)
    while at >= 0:
        places.append(Place(at, at + len(old), "exact"))
        at = text.find(old, at + max(len(old), 1))
    return places


def find_by_lines(text: str, old: str) -> list[Place]:
    """Every place where whole lines are the same but for white space: at their ends, then of their indentation, then
    anywhere. The first of these that finds any counts."""
    lines, wanted = _Lines(text), quoted_lines(old)
    for plain in (str.rstrip, str.strip, _squeezed):
        key = [plain(line) for line in wanted]
        if not any(key):
            return []
        there = [plain(line) for line in lines.texts]
        found = [at for at in lines.windows(len(key)) if there[at] == key[0] and there[at : at + len(key)] == key]
        if found:
            return [lines.place(at, old, "white space") for at in found]
    return []


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


def fitted(new: str, old: str, place: Place) -> str:
    """What is put in the place of whole lines: indented as they are, and with as many empty lines around it."""
    if place.how == "exact":
        return new
    before = min(_newlines(old), _newlines(new))
    after = max(0, min(_newlines(old[::-1]) - 1, _newlines(new[::-1])))
    return _reindented(new[before : len(new) - after], dict(place.indents))


def _reindented(text: str, indents: dict[str, str]) -> str:
    if all(said == found for said, found in indents.items()):
        return text
    lines = []
    for line in text.split("\n"):
        indent = _indent(line)
        known = max((said for said in indents if indent.startswith(said)), key=len, default=None)
        if line.strip() and known is not None:
            deeper = indent[len(known) :]
            if "\t" in indents[known] and not deeper.strip(" "):
                deeper = "\t" * (len(deeper) // _SPACES_PER_TAB)
            line = indents[known] + deeper + line[len(indent) :]
        lines.append(line)
    return "\n".join(lines)


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
        wanted = quoted_lines(old)
        last = at + len(wanted)
        end = min(self.starts[last] - (0 if old.endswith("\n") else 1), self._length)
        return Place(self.starts[at], end, how, alike, _indents(wanted, self.texts[at:last]))


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


def _indents(wanted: Sequence[str], there: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """How the indentation of lines differs; of an indentation that stands for several, the first counts."""
    found: dict[str, str] = {}
    for said, line in zip(wanted, there, strict=False):
        if said.strip() and line.strip():
            found.setdefault(_indent(said), _indent(line))
    return tuple(found.items())


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _newlines(text: str) -> int:
    """How many it begins with."""
    return len(text) - len(text.lstrip("\n"))


def _squeezed(line: str) -> str:
    return re.sub(r"\s+", "", line) if line.strip() else ""
