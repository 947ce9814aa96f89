"""Patches: reading one that a model wrote, and applying it to the text of files. Pure.

Two forms are read: unified diffs, and blocks between `*** Begin Patch` and `*** End Patch`. They differ in how they
name files. Both have hunks, and a hunk may name a line that stands above it: `@@ def f():`.

Line numbers and counts of models are often wrong. So lines are found by what stands in them; numbers only say which of
several places is meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from treadle.errors import Refused
from treadle.tools.text import FileText

_HUNK = re.compile(r"^@@(?: -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@)?")
_NO_NEWLINE = "\\"
_MARKS = (" ", "-", "+")


@dataclass(slots=True)
class Hunk:
    """One piece of a diff: lines with their mark (` `, `-` or `+`) apart."""

    start: int | None
    """Where it begins in the old file, from 1; None: it does not say."""
    under: tuple[str, ...] = ()
    """Lines that stand above it, each below the one before."""
    is_last: bool = False
    """It ends where the file ends."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    ends_old: bool = True
    """The last old line has a newline."""
    ends_new: bool = True

    @property
    def old(self) -> list[str]:
        return [line for mark, line in self.lines if mark != "+"]


@dataclass(slots=True)
class FilePatch:
    """What a diff does to one file."""

    old: str | None
    """None: the file is made."""
    new: str | None
    """None: the file is removed."""
    hunks: list[Hunk] = field(default_factory=list)
    is_whole: bool = False
    """The file is removed, whatever it holds."""

    @property
    def path(self) -> str:
        return self.new or self.old or ""


def read_patch(text: str) -> list[FilePatch]:
    """Read a patch of one or more files; what stands around it is passed over.

    Raises:
        Refused: It is none, or has parts that are no text.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    patches: list[FilePatch] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise Refused("The patch has a binary file in it; nothing was changed.", hint="Leave that file out.")
        if line.startswith("diff --git "):
            at = _read_git_header(lines, at, patches)
        elif _is_header(lines, at):
            old, new = _name(lines[at][4:], "a/"), _name(lines[at + 1][4:], "b/")
            if patches and not patches[-1].hunks and {patches[-1].old, patches[-1].new} & {old, new}:
                patches[-1].old, patches[-1].new = old, new
            else:
                patches.append(FilePatch(old, new))
            at += 2
        elif line.startswith("*** "):
            at = _read_block_header(lines, at, patches)
        elif line.startswith("@@") and patches:
            at = _read_hunk(lines, at, patches[-1])
        else:
            at += 1
    found = [patch for patch in patches if patch.hunks or patch.old != patch.new]
    if not found:
        hint = "Write `--- a/PATH`, `+++ b/PATH`, then `@@ -1,2 +1,2 @@` and lines that begin with a space, - or +."
        raise Refused("The patch has no file that it changes.", hint=hint)
    return found


def apply(file: FileText, patch: FilePatch) -> FileText:
    """Apply a patch to the text of its file.

    Raises:
        Refused: A hunk fits no place, or more than one; the message names it.
    """
    shift = 0
    for number, hunk in enumerate(patch.hunks, start=1):
        which = f"Hunk {number} of {patch.path}"
        lines = _split(file.text)
        at = _place(lines, hunk, shift, which)
        if hunk.start is not None:
            shift = at - hunk.start + (1 if hunk.old else 0)  # what only adds goes behind the line that it names
        file = _replace(file, lines, at, hunk)
        shift += sum(mark == "+" for mark, _ in hunk.lines) - sum(mark == "-" for mark, _ in hunk.lines)
    return file


def _read_git_header(lines: Sequence[str], at: int, patches: list[FilePatch]) -> int:
    """Read what git says of a file before its hunks: it may be all there is, for renames and empty files."""
    match = re.match(r'^diff --git "?a/(.*?)"? "?b/(.*?)"?$', lines[at])
    old: str | None = match[1] if match else None
    new: str | None = match[2] if match else None
    at += 1
    while at < len(lines) and not lines[at].startswith(("diff --git ", "@@", "GIT binary", "Binary files")):
        if _is_header(lines, at):
            break
        line = lines[at]
        if line.startswith("new file"):
            old = None
        elif line.startswith("deleted file"):
            new = None
        at += 1
    if match:
        patches.append(FilePatch(old, new))
    return at


def _read_block_header(lines: Sequence[str], at: int, patches: list[FilePatch]) -> int:
    """Read a line such as `*** Update File: PATH`, and the hunk behind it if nothing announces that."""
    word, _, name = lines[at][4:].partition(":")
    name, word = name.strip(), word.strip()
    if word == "End of File" and patches and patches[-1].hunks:
        patches[-1].hunks[-1].is_last = True
    elif word == "Move to" and patches:
        patches[-1].new = name
    elif word == "Delete File":
        patches.append(FilePatch(name, None, is_whole=True))
    elif word in ("Add File", "Update File"):
        patches.append(FilePatch(None if word == "Add File" else name, name))
    at += 1
    if word in ("Add File", "Update File", "Move to") and patches and lines[at : at + 1] and lines[at][:1] in _MARKS:
        at = _read_hunk(lines, at, patches[-1])
    if word == "Add File" and patches[-1].hunks:
        hunk = patches[-1].hunks[0]
        hunk.lines = [("+", line) for _, line in hunk.lines]
    return at


def _is_header(lines: Sequence[str], at: int) -> bool:
    return lines[at].startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ ")


def _name(text: str, prefix: str) -> str | None:
    name = text.partition("\t")[0].strip().strip('"')
    return None if name == "/dev/null" else name.removeprefix(prefix)


def _read_hunk(lines: Sequence[str], at: int, patch: FilePatch) -> int:
    under: list[str] = []
    numbers: tuple[str | None, ...] = (None, None, None)
    while at < len(lines) and lines[at].startswith("@@"):
        match = _HUNK.match(lines[at])
        numbers = match.groups() if match else numbers
        if not numbers[0]:
            under.append(lines[at].strip("@").strip())
        at += 1
    hunk = Hunk(int(numbers[0]) if numbers[0] else None, tuple(filter(None, under)))
    left_old = int(numbers[1] or 1) if numbers[0] else 0
    left_new = int(numbers[2] or 1) if numbers[0] else 0
    guessed = 0
    while at < len(lines):
        line = lines[at]
        is_counted = left_old > 0 or left_new > 0
        if line.startswith(_NO_NEWLINE):
            _mark_end(hunk)
        elif line[:1] in _MARKS and (is_counted or not _is_header(lines, at)):
            hunk.lines.append((line[0], line[1:]))
            guessed = 0
        elif not line and (is_counted or _goes_on(lines, at)):
            hunk.lines.append((" ", ""))  # an empty line whose space was lost
            guessed += 1
        else:
            break
        if not line.startswith(_NO_NEWLINE):
            mark = hunk.lines[-1][0]
            left_old -= mark != "+"
            left_new -= mark != "-"
        at += 1
    while guessed and (left_old < 0 or not any(lines[at:])):
        hunk.lines.pop()  # it was the end of the patch
        left_old, guessed = left_old + 1, guessed - 1
    patch.hunks.append(hunk)
    return at


def _goes_on(lines: Sequence[str], at: int) -> bool:
    """Whether a line of the same hunk follows an empty one."""
    following = next((number for number in range(at, len(lines)) if lines[number]), None)
    return following is not None and lines[following][0] in " -+" and not _is_header(lines, following)


def _mark_end(hunk: Hunk) -> None:
    """The line before has no newline."""
    if hunk.lines:
        mark = hunk.lines[-1][0]
        hunk.ends_old = hunk.ends_old and mark == "+"
        hunk.ends_new = hunk.ends_new and mark == "-"


def _split(text: str) -> list[str]:
    """The lines of a text; what follows the last newline is one only if it is not empty."""
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def _place(lines: Sequence[str], hunk: Hunk, shift: int, which: str) -> int:
    """The line, from 0, where a hunk begins."""
    old = hunk.old
    anchor = _anchor(lines, hunk.under)
    if not old:
        if anchor is not None:
            return anchor + 1
        if hunk.start is None and lines:
            raise Refused(f"{which} says neither a line nor what stands there.", hint="Repeat some lines around it.")
        return min((hunk.start or 0) + shift, len(lines)) if lines else 0
    expected = hunk.start - 1 + shift if hunk.start is not None else None
    for plain in _WAYS:
        there, key = [plain(line) for line in lines], [plain(line) for line in old]
        found = [at for at in range(len(there) - len(key) + 1) if there[at : at + len(key)] == key]
        if hunk.is_last and found and found[-1] + len(key) == len(there):
            return found[-1]
        below = [at for at in found if anchor is not None and at >= anchor]
        if len(found) == 1 or below:
            return (below or found)[0]
        if found and expected is not None:
            nearest = sorted(found, key=lambda at: abs(at - expected))
            if abs(nearest[0] - expected) != abs(nearest[1] - expected):
                return nearest[0]
        if found:
            places = ", ".join(str(at + 1) for at in found[:6])
            raise Refused(f"{which} fits several places, at lines {places}; nothing was changed.", hint=_MORE)
    shown = "\n".join(line[:200] for line in old[:6])
    raise Refused(f"{which} fits no place. It expects these lines, which are not there:\n{shown}\n", hint=_READ)


def _anchor(lines: Sequence[str], under: Sequence[str]) -> int | None:
    """Where the last of some lines stands, each looked for below the one before; None: one is not there."""
    at, there = -1, [line.strip() for line in lines]
    for line in under:
        try:
            at = there.index(line, at + 1)
        except ValueError:
            return None
    return at if under else None


_WAYS: tuple[Callable[[str], str], ...] = (str, str.rstrip, str.strip)
_MORE = "Repeat more lines around the change."
_READ = "Read the file, and write the patch against what stands there. Nothing was changed."


def _replace(file: FileText, lines: Sequence[str], at: int, hunk: Hunk) -> FileText:
    """Put a hunk's new lines in the place of its old ones; lines that stay, stay as they are in the file."""
    new, number = [], at
    for mark, line in hunk.lines:
        if mark == "+":
            new.append(line)
        else:
            if mark == " ":
                new.append(lines[number])
            number += 1
    text = file.text
    start = sum(len(line) + 1 for line in lines[:at])
    end = min(start + sum(len(line) + 1 for line in lines[at:number]), len(text))
    is_last = number == len(lines)
    had_newline = not text or text.endswith("\n")
    has_newline = True
    if is_last:
        has_newline = hunk.ends_new if hunk.ends_old != hunk.ends_new else (had_newline if text else hunk.ends_new)
    put = "\n".join(new) + ("\n" if new and has_newline else "")
    if at == len(lines) and text and not text.endswith("\n"):  # behind a last line without a newline
        start, put = len(text), "\n" + put
    if is_last and not new and not has_newline and start:
        start -= 1
    return file.replaced([(min(start, len(text)), end if end >= start else len(text), put)])
