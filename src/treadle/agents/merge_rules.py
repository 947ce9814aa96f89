"""Conflicts that need no model: both sides' changes are made, and the facts of the file prove that nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.agents.merge_facts import Unreadable, objection, reader_of
from treadle.agents.merge_hunks import Hunk, Part, candidates, filled

_PLAIN = (".md", ".txt", ".rst", ".gitignore", ".gitattributes", ".csv")
_MAX_CANDIDATES = 8


def settle(path: str, parts: Sequence[Part]) -> dict[int, str]:
    """Merge the hunks of a file that can be merged by rule: index in `parts` to text. Others are left out."""
    found = {}
    for number, part in enumerate(parts):
        if isinstance(part, Hunk):
            text = _settled(path, parts, number, part)
            if text is not None:
                found[number] = text
    return found


def is_plain(path: str) -> bool:
    """Tell whether a file is text for people, in which lines of both sides may stand one behind the other."""
    name = path.rpartition("/")[2].lower()
    return name.endswith(_PLAIN) or "." not in name or name.startswith("requirements")


def _settled(path: str, parts: Sequence[Part], number: int, hunk: Hunk) -> str | None:
    found = [text for _, text in zip(range(_MAX_CANDIDATES), candidates(hunk), strict=False)]
    if hunk.ours == hunk.theirs:
        return hunk.ours
    if is_plain(path):
        # Words of prose are not merged: half a sentence of each side says what neither meant.
        return found[0] if found and _keeps_lines(hunk, found[0]) else None
    return next((text for text in found if not flaw(path, parts, {number: text})), None)


def flaw(path: str, parts: Sequence[Part], merged: dict[int, str]) -> str:
    """Say what a merge of some hunks loses or spoils, or nothing. The other hunks are as on our side.

    A file whose facts cannot be read is flawed: nothing can be proved about it.
    """
    read = reader_of(path)
    if read is None:
        return "Nothing is known about files of this kind."
    try:
        base, ours, theirs = (
            read(filled(parts, "ours", {number: getattr(parts[number], side) for number in merged}))
            for side in ("base", "ours", "theirs")
        )
        return objection(base, ours, theirs, read(filled(parts, "ours", merged)))
    except Unreadable as error:
        return f"Cannot be read: {error}"


def _keeps_lines(hunk: Hunk, merged: str) -> bool:
    lines = set(merged.splitlines())
    base = set(hunk.base.splitlines())
    return all(line in lines for side in (hunk.ours, hunk.theirs) for line in side.splitlines() if line not in base)
