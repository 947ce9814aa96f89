"""Which paths a model may name. Everything that comes from a model passes here before it meets the disk."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath

from treadle.errors import Refused

MAX_DEPTH = 12
MAX_NAME_BYTES = 200


def _refusal(message: str) -> Refused:
    hint = "Paths are relative to the workspace, without '..', symbolic links or '.git'."
    return Refused(message, hint=hint)


def clean_path(name: str) -> str:
    """Normalise a path that a model gave; the result is relative, with forward slashes and no `.` parts.

    Raises:
        Refused: It is empty, absolute, has `..`, a `.git` part, control characters or is absurdly long.
    """
    text = name.strip().replace("\\", "/")
    if not text or text.startswith(("/", "~")) or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise _refusal(f"The path {name!r} is not a relative file name.")
    parts = [part for part in PurePosixPath(text).parts if part != "."]
    if not parts or len(parts) > MAX_DEPTH or len(text.encode(errors="replace")) > MAX_NAME_BYTES:
        raise _refusal(f"The path {name!r} is empty, too deep or too long.")
    for part in parts:
        # Git itself also refuses spellings of .git that some file systems fold together, hence the stripping.
        if part == ".." or part.lower().rstrip(". ") in {".git", "git~1"} or ":" in part:
            raise _refusal(f"The path {name!r} leaves the workspace or names git's own files.")
    return "/".join(parts)


def inside(folder: Path, name: str) -> Path:
    """Place a model's path in a workspace folder; no part of it that exists may be a symbolic link.

    Raises:
        Refused: See `clean_path`; or a part of it is a symbolic link, or a file where a folder is needed.
    """
    place = folder
    parts = clean_path(name).split("/")
    for number, part in enumerate(parts, start=1):
        place = place / part
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            raise _refusal(f"The path {name!r} goes through a file.") from None
        if stat.S_ISLNK(mode):
            raise _refusal(f"The path {name!r} goes through a symbolic link.")
        if number < len(parts) and not stat.S_ISDIR(mode):
            raise _refusal(f"The path {name!r} goes through a file.")
        if number == len(parts) and not stat.S_ISREG(mode):
            raise _refusal(f"The path {name!r} is not a regular file.")
    return place
