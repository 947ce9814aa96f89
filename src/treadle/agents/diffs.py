"""Reading unified diffs as git writes them: which files, which lines came, which went. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_GIT = re.compile(r'diff --git (?:"?a/(.+?)"?) (?:"?b/(.+?)"?)$')


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What happened to one file."""

    path: str
    """As it is called after the change; of a removed file, before."""
    added: Mapping[int, str]
    """Line number after the change to text."""
    removed: tuple[str, ...]
    is_new: bool = False
    is_gone: bool = False
    is_binary: bool = False
    before: str = ""
    """The path before, of a file that was moved."""


def read_diff(text: str) -> list[FileDiff]:
    """Take a unified diff apart, file by file. What is no diff gives an empty list."""
    starts = [match.start() for match in re.finditer(r"^diff --git ", text, re.MULTILINE)]
    if not starts:
        starts = [match.start() for match in re.finditer(r"^--- (?=.*\n\+\+\+ )", text, re.MULTILINE)]
    parts = [text[start:end] for start, end in pairwise([*starts, len(text)])]
    return [_read_file(part.removesuffix("\n").split("\n")) for part in parts]


def _read_file(lines: list[str]) -> FileDiff:
    path = before = ""
    is_new = is_gone = is_binary = False
    first = next((number for number, line in enumerate(lines) if line.startswith("@@ ")), len(lines))
    for line in lines[:first]:
        if match := _GIT.match(line):
            before, path = match[1], match[2]
        elif line.startswith("--- "):
            is_new = is_new or line[4:].strip() == "/dev/null"
            before = _path(line[4:]) or before
        elif line.startswith("+++ "):
            is_gone = is_gone or line[4:].strip() == "/dev/null"
            path = _path(line[4:]) or path or before
        is_new = is_new or line.startswith("new file mode")
        is_gone = is_gone or line.startswith("deleted file mode")
        is_binary = is_binary or line.startswith(("Binary files ", "GIT binary patch"))
    added, removed = _lines(lines[first:])
    moved = before if before != path and not is_new and not is_gone else ""
    return FileDiff(path, added, tuple(removed), is_new, is_gone, is_binary, moved)


def _path(words: str) -> str:
    name = words.split("\t")[0].strip().strip('"')
    return "" if name == "/dev/null" else name.partition("/")[2] if name[:2] in ("a/", "b/") else name


def _lines(lines: list[str]) -> tuple[dict[int, str], list[str]]:
    added: dict[int, str] = {}
    removed: list[str] = []
    number, old_left, new_left = 0, 0, 0
    for line in lines:
        if old_left <= 0 and new_left <= 0:
            if hunk := _HUNK.match(line):
                number = int(hunk[3])
                old_left, new_left = int(hunk[2] or 1), int(hunk[4] or 1)
        elif line.startswith("+"):
            added[number] = line[1:]
            number, new_left = number + 1, new_left - 1
        elif line.startswith("-"):
            removed.append(line[1:])
            old_left -= 1
        elif not line.startswith("\\"):
            number, old_left, new_left = number + 1, old_left - 1, new_left - 1
    return added, removed
