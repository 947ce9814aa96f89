"""What is put in the place of lines that a model did not quote as they stand there. Pure.

Lines that it only repeats stay as they are in the file, so that what it misquoted is not written back. Those that it
changes are indented as the file is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from treadle.tools.matching import Place, bare, quoted_lines

_SPACES_PER_TAB = 4
_WORK = 250_000
"""Quoted lines times new lines. Beyond it, lines that are repeated are found at the beginning and the end alone."""


def fitted(new: str, old: str, place: Place) -> str:
    """What is put in the place of whole lines, with as many empty lines around it as the model changed."""
    if place.how == "exact":
        return new
    before = min(_newlines(old), _newlines(new))
    after = max(0, min(_newlines(old[::-1]) - 1, _newlines(new[::-1])))
    said, fresh = quoted_lines(old), new[before : len(new) - after].split("\n")
    style = _Style(said, place)
    lines: list[str] = []
    for is_repeated, (start, end), (first, last) in _compared(said, fresh):
        kept = _kept(place, start, end) if is_repeated else []
        lines += kept or map(style.written, fresh[first:last])
    return "\n".join(lines)


def _compared(said: Sequence[str], fresh: Sequence[str]) -> Iterator[tuple[bool, tuple[int, int], tuple[int, int]]]:
    """The runs of lines that are in both, and those between, as parts of the one and of the other."""
    if len(said) * len(fresh) <= _WORK:
        for kind, start, end, first, last in SequenceMatcher(None, said, fresh, autojunk=False).get_opcodes():
            yield kind == "equal", (start, end), (first, last)
        return
    shorter = min(len(said), len(fresh))
    head = next((at for at in range(shorter) if said[at] != fresh[at]), shorter)
    tail = next((at for at in range(shorter - head) if said[-1 - at] != fresh[-1 - at]), shorter - head)
    yield True, (0, head), (0, head)
    yield False, (head, len(said) - tail), (head, len(fresh) - tail)
    yield True, (len(said) - tail, len(said)), (len(fresh) - tail, len(fresh))


def _kept(place: Place, start: int, end: int) -> Sequence[str]:
    """The lines of the file for some quoted ones, with empty lines behind them that were not quoted."""
    here = [number for number in place.numbers[start:end] if number >= 0]
    if not here:
        return []
    behind = next((number for number in place.numbers[end:] if number >= 0), place.last)
    return place.lines[here[0] : behind]


class _Style:
    """How lines that a model wrote are to be written here."""

    def __init__(self, said: Sequence[str], place: Place) -> None:
        pairs = [(line, place.lines[at]) for line, at in zip(said, place.numbers, strict=True) if at >= 0]
        self._indents: dict[str, str] = {}
        for line, there in pairs:
            if line.strip() and there.strip():
                self._indents.setdefault(_indent(line), _indent(there))
        self._is_same = all(line == there for line, there in self._indents.items())
        self._characters = _replaced_characters(pairs) if place.how == "characters" else {}
        tab = next((len(there) // len(line) for line, there in self._indents.items() if set(line) == {"\t"}), 0)
        self._tab = " " * (tab or _SPACES_PER_TAB)

    def written(self, line: str) -> str:
        """The line with the file's indentation, and its quotation marks and dashes."""
        line = line.translate(self._characters)
        indent = _indent(line)
        known = max((said for said in self._indents if indent.startswith(said)), key=len, default=None)
        if self._is_same or not line.strip() or known is None:
            return line
        here, deeper = self._indents[known], indent[len(known) :]
        if "\t" in here and not deeper.strip(" "):
            deeper = "\t" * (len(deeper) // _SPACES_PER_TAB)
        elif here and "\t" not in here:
            deeper = deeper.replace("\t", self._tab)
        return here + deeper + line[len(indent) :]


def _replaced_characters(pairs: Sequence[tuple[str, str]]) -> dict[int, str]:
    """The characters that models write where others were meant, if it is always the same that stands there."""
    found: dict[str, set[str]] = {}
    for line, there in pairs:
        for said, stands in zip(bare(line), bare(there), strict=False):
            found.setdefault(said, set()).add(stands)
    return {ord(said): next(iter(there)) for said, there in found.items() if not said.isascii() and len(there) == 1}


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _newlines(text: str) -> int:
    """How many it begins with."""
    return len(text) - len(text.lstrip("\n"))
