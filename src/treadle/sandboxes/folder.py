"""A folder of the user's in which clients may work: its files, what is known of them, new folders and names."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Literal

from treadle.domain.paths import clean_path
from treadle.errors import Refused
from treadle.sandboxes._files import WorkspaceFiles, _look, _missing, _told

Kind = Literal["file", "folder", "link", "other"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file or a folder. Times are seconds since the epoch."""

    kind: Kind
    size: int
    mode: int
    """Permission bits."""
    created: float
    """Of its entry, where the system knows; else of the last change of what is known of it."""
    modified: float
    accessed: float


class FolderFiles(WorkspaceFiles):
    """The files of a folder, and what `ports.sandbox.Files` leaves out. Its paths lead nowhere else, as there."""

    async def facts(self, path: str) -> Facts:
        """Look at a file or a folder, `.` the folder itself. A symbolic link is not followed.

        Raises:
            Refused: The path is not allowed.
            NotFound: There is no such file.
        """
        if path == ".":
            with self._folder([], path) as folder:
                return _facts(os.fstat(folder))
        with self._parent(path) as (folder, name):
            found = _look(folder, name, path)
            if found is None:
                raise _missing(path)
            return _facts(found)

    async def make_folder(self, path: str) -> None:
        """Make a folder, and those that it lies in. Idempotent. Raises Refused if a file is in the way."""
        if path != ".":
            with self._folder(clean_path(path).split("/"), path, make=True):
                pass

    async def move(self, path: str, to: FolderFiles, new: str) -> None:
        """Give a file or a folder another name, there or in another folder. Never replaces a file.

        Raises:
            Refused: A path is not allowed, something has the new name already, or it lies on another file system.
            NotFound: There is no such file, or no folder for the new name. Nothing was moved.
        """
        with self._parent(path) as (folder, name), to._parent(new) as (there, called):
            found = _look(folder, name, path)
            if found is None:
                raise _missing(path)
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                raise Refused(f"{path!r} is no regular file and no folder; nothing was moved.")
            if _look(there, called, new) is not None:
                raise _taken(new)
            with _told(path):
                _rename(folder, name, there, called, new, is_folder=stat.S_ISDIR(found.st_mode))


def _rename(folder: int, name: str, there: int, called: str, new: str, *, is_folder: bool) -> None:
    """Rename within open folders; a file that appears under the new name meanwhile is left alone."""
    try:
        if is_folder:
            os.rename(name, called, src_dir_fd=folder, dst_dir_fd=there)
            return
        try:
            os.link(name, called, src_dir_fd=folder, dst_dir_fd=there, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            os.rename(name, called, src_dir_fd=folder, dst_dir_fd=there)  # no hard links here
            return
        os.unlink(name, dir_fd=folder)
    except (FileExistsError, NotADirectoryError):
        raise _taken(new) from None
    except OSError as error:
        if error.errno == errno.EXDEV:
            message = f"{new!r} lies on another file system; nothing was moved."
            raise Refused(message, hint="Read it, and write it there.") from None
        raise


def _taken(new: str) -> Refused:
    return Refused(f"There is {new!r} already; nothing was moved.", hint="Choose another name.")


def _facts(found: os.stat_result) -> Facts:
    created = getattr(found, "st_birthtime", found.st_ctime)
    mode = stat.S_IMODE(found.st_mode)
    return Facts(_kind(found.st_mode), found.st_size, mode, created, found.st_mtime, found.st_atime)


def _kind(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"
