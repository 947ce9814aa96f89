"""The files of a workspace folder, touched from outside while untrusted code may be at work in it.

Each part of a path is opened relative to the folder before it, without following symbolic links. So it does not matter
what is swapped in between: an open folder stays the one that was opened.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from treadle.domain.paths import MAX_DEPTH, clean_path, is_of_git, refused_path
from treadle.errors import NotFound, Refused
from treadle.ports.sandbox import MIB, Entry, FileContent, Listing

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CACHES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"})
_STAMPS = 200_000
"""Files that are looked at: beyond them, a workspace is somebody's bomb."""


class WorkspaceFiles:
    """Implements `ports.sandbox.Files` on a folder of this machine. The folder itself is not in untrusted hands."""

    def __init__(self, workspace: Path) -> None:
        self._root = workspace

    async def read(self, path: str, *, limit: int = 8 * MIB) -> FileContent:
        """Read a regular file; see the port."""
        with self._parent(path) as (folder, name):
            found = _look(folder, name, path)
            if found is None:
                raise _missing(path)
            _refuse_unless_regular(found, path)
            with _told(path):
                fd = os.open(name, _READ, dir_fd=folder)
            with os.fdopen(fd, "rb") as file:
                status = os.fstat(fd)
                _refuse_unless_regular(status, path)
                with _told(path):
                    data = file.read(limit)
        return FileContent(data, max(status.st_size, len(data)), stat.S_IMODE(status.st_mode))

    async def write(self, path: str, data: bytes) -> None:
        """Replace a file, or make it; see the port. The old file goes in one step, so a hard link keeps its content."""
        with self._parent(path, make=True) as (folder, name):
            found = _look(folder, name, path)
            if found is not None:
                _refuse_unless_regular(found, path)
            scratch = f".treadle-{secrets.token_hex(8)}"
            with _told(path):
                fd = os.open(scratch, _NEW, 0o666, dir_fd=folder)
            try:
                with _told(path):
                    with os.fdopen(fd, "wb") as file:
                        if found is not None:
                            _be_like(fd, found)
                        file.write(data)
                    os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(scratch, dir_fd=folder)
                raise

    async def remove(self, path: str) -> None:
        """Remove a file or a link; see the port."""
        with self._parent(path) as (folder, name):
            found = _look(folder, name, path)
            if found is None:
                raise _missing(path)
            if stat.S_ISDIR(found.st_mode):
                raise Refused(f"{path!r} is a folder; nothing was removed.", hint="Remove the files in it one by one.")
            with _told(path):
                os.unlink(name, dir_fd=folder)

    async def list(self, path: str = ".", *, depth: int = 1, limit: int = 1000) -> Listing:
        """List a folder; see the port."""
        return await asyncio.to_thread(self._list, path, depth, limit)

    async def stamps(self) -> dict[str, str]:
        """Mark every file; see the port."""
        return await asyncio.to_thread(self._stamps)

    def _list(self, path: str, depth: int, limit: int) -> Listing:
        clean = "" if path.strip() in ("", ".", "./") else clean_path(path)
        found: list[Entry] = []
        with self._folder(clean.split("/") if clean else [], path) as folder:
            for entry in _walk(folder, f"{clean}/" if clean else "", depth):
                if len(found) == limit:
                    return Listing(tuple(found), is_whole=False)
                found.append(_entry(*entry))
        return Listing(tuple(found))

    def _stamps(self) -> dict[str, str]:
        found: dict[str, str] = {}
        with self._folder([], ".") as folder:
            for path, status in _walk(folder, "", MAX_DEPTH, without=_CACHES):
                if len(found) == _STAMPS:
                    break
                if not stat.S_ISDIR(status.st_mode):
                    # The time of the last change of the inode cannot be set by whom we do not trust.
                    times = f"{status.st_mtime_ns}:{status.st_ctime_ns}"
                    found[path] = f"{status.st_ino}:{status.st_mode}:{status.st_size}:{times}"
        return found

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Lend the open folder that a path lies in, and the name within it."""
        *parents, name = clean_path(path).split("/")
        with self._folder(parents, path, make=make) as folder:
            yield folder, name

    @contextmanager
    def _folder(self, parts: Sequence[str], path: str, *, make: bool = False) -> Iterator[int]:
        with _told(path):
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                inner = _enter(fd, part, path, make=make)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)


def _enter(folder: int, part: str, path: str, *, make: bool) -> int:
    """Open a folder in a folder."""
    while True:
        try:
            return os.open(part, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if not make:
                raise _missing(path) from None
            with suppress(FileExistsError), _told(path):
                os.mkdir(part, 0o777, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise refused_path(f"The path {path!r} goes through a symbolic link.") from None
            if error.errno == errno.ENOTDIR:
                found = _look(folder, part, path)
                if found and stat.S_ISLNK(found.st_mode):
                    raise refused_path(f"The path {path!r} goes through a symbolic link.") from None
                raise Refused(
                    f"{part!r} in {path!r} is a file, not a folder.", hint="Read it, or name a folder."
                ) from None
            raise _unusable(path, error) from error


def _walk(
    folder: int, prefix: str, depth: int, *, without: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below an open folder, in order; what vanishes meanwhile, or may not be entered, is left out."""
    for name in sorted(os.listdir(folder)):
        if is_of_git(name) or name in without:
            continue
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            continue
        yield prefix + name, status
        if depth > 1 and stat.S_ISDIR(status.st_mode):
            try:
                inner = os.open(name, _FOLDER, dir_fd=folder)
            except OSError:
                continue
            try:
                yield from _walk(inner, f"{prefix}{name}/", depth - 1, without=without)
            finally:
                os.close(inner)


def _entry(path: str, status: os.stat_result) -> Entry:
    shown = path.encode(errors="surrogateescape").decode(errors="replace")
    if stat.S_ISREG(status.st_mode):
        return Entry(shown, "file", status.st_size)
    if stat.S_ISDIR(status.st_mode):
        return Entry(shown, "folder")
    return Entry(shown, "link" if stat.S_ISLNK(status.st_mode) else "other")


def _look(folder: int, name: str, path: str) -> os.stat_result | None:
    """What a name stands for, without following it; None if it is not there."""
    try:
        with _told(path):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except NotFound:
        return None


def _refuse_unless_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refused(f"{path!r} is a folder, not a file.", hint="Name a file in it; ls_dir shows them.")
    if stat.S_ISLNK(status.st_mode):
        raise refused_path(f"{path!r} is a symbolic link.")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path!r} is not a regular file.", hint="Name another file.")


def _be_like(fd: int, old: os.stat_result) -> None:
    """Give a new file the owner and the mode of the one that it replaces."""
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(OSError):  # only root may give files away
            os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)


def _missing(path: str) -> NotFound:
    return NotFound(f"There is no {path!r} in the workspace.", hint="ls_dir shows what there is.")


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what the file system says into our errors."""
    try:
        yield
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: str, error: OSError) -> Refused:
    if error.errno == errno.ELOOP:
        return refused_path(f"{path!r} is a symbolic link.")
    return Refused(f"{path!r} cannot be used: {error.strerror}.", hint="Use another path.")
