"""Which paths a model may name. Everything that comes from a model passes here before it meets the disk."""

from __future__ import annotations

from treadle.errors import Refused

MAX_DEPTH = 40
MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1000

_IGNORED_BY_SOME = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
"""Characters that macOS leaves out when it compares names: `.g<200c>it` is `.git` there."""


def refused_path(message: str) -> Refused:
    """The refusal of a path, with what to do about it."""
    return Refused(message, hint="Paths are relative to the workspace, without '..', symbolic links or '.git'.")


def clean_path(name: str) -> str:
    """Normalise a path that a model gave; the result is relative, with forward slashes and no `.` parts.

    Raises:
        Refused: It is empty, absolute, has `..`, a `.git` part, control characters or is absurdly long.
    """
    text = name.strip().replace("\\", "/")
    if not text or text.startswith(("/", "~")) or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise refused_path(f"The path {name[:200]!r} is not a relative file name.")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    clean = "/".join(parts)
    if clean != clean.strip() or clean.startswith("~") or _is_no_name(clean):
        raise refused_path(f"The path {name[:200]!r} is not a relative file name.")
    if not parts:
        raise refused_path(f"The path {name[:200]!r} is the folder itself, and names no file in it.")
    if len(parts) > MAX_DEPTH or _bytes(text) > MAX_PATH_BYTES or max(map(_bytes, parts)) > MAX_NAME_BYTES:
        raise refused_path(f"The path {name[:200]!r} is too deep or too long.")
    for part in parts:
        if part == ".." or ":" in part or is_of_git(part):
            raise refused_path(f"The path {name!r} leaves the workspace or names git's own files.")
    return clean


def is_of_git(part: str) -> bool:
    """Tell whether a part of a path is git's own folder, also in spellings that some file systems fold together."""
    seen = part if part.isascii() else part.translate(_IGNORED_BY_SOME)
    return seen.lower().rstrip(". ") in {".git", "git~1"}


def _is_no_name(text: str) -> bool:
    """Whether no file system could hold it: half of a surrogate pair, which JSON can name."""
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return True
    return False


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))
