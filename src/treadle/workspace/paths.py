"""Placing paths that a model gave in a folder of this machine that nothing else writes to."""

from __future__ import annotations

import stat
from pathlib import Path

from treadle.domain.paths import clean_path
from treadle.domain.paths import refused_path as _refusal


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
