"""Copies of a workspace that it can be brought back to. Plain copies: a hard link would change with the file.

Where the file system can share blocks between files (btrfs, xfs), it does. Going back touches only what has changed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from treadle.domain.paths import is_of_git
from treadle.errors import Refused
from treadle.ports.sandbox import MIB
from treadle.sandboxes._disk import Usage, entered, measure

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CLOCK_NANOSECONDS = 100_000_000
"""More than the clock of any file system is coarse: what changed last so shortly before may change again unseen."""
_HARD_LINKS_BYTES = 1024 * MIB
"""What files of several names may take more, once each name has a file of its own."""


@dataclass(slots=True)
class _Kept:
    """One file, folder or link as it was."""

    mode: int
    """With the kind."""
    modified_ns: int = 0
    stamp: tuple[int, ...] | None = None
    """Equal as long as a file is not touched; None if that could not be told."""
    place: str = ""
    """Name of the copy."""
    target: str = ""
    """Of a symbolic link."""


class FolderSnapshot:
    """Implements `ports.sandbox.Snapshot`."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._copies = Path(_scratch(workspace))
        self._kept: dict[str, _Kept] = {}

    @classmethod
    async def take(cls, workspace: Path) -> FolderSnapshot:
        """Copy what a folder holds.

        Raises:
            Refused: It cannot be read, or would take far more as a copy.
        """
        made = cls(workspace)
        try:
            await asyncio.to_thread(made._take_all)
        except BaseException as error:
            await made.close()
            if isinstance(error, OSError):
                raise Refused(f"{workspace} cannot be kept: {error.strerror}.", hint="Look at its files.") from error
            raise
        return made

    async def restore(self) -> None:
        """Make the folder hold what it held; see the port."""
        await asyncio.to_thread(self._restore_all)

    async def close(self) -> None:
        """Remove the copies. Idempotent."""
        await asyncio.to_thread(shutil.rmtree, self._copies, ignore_errors=True)

    def _take_all(self) -> None:
        seen = Usage()
        fd = os.open(self._workspace, _FOLDER)
        try:
            self._take(fd, "", seen, [measure(self._workspace).bytes + _HARD_LINKS_BYTES])
        finally:
            os.close(fd)

    def _take(self, folder: int, prefix: str, seen: Usage, left: list[int]) -> None:
        for name in os.listdir(folder):
            if is_of_git(name):
                continue
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            kept = self._kept[prefix + name] = _Kept(status.st_mode, status.st_mtime_ns)
            if stat.S_ISDIR(status.st_mode):
                with entered(folder, name, status) as inner:
                    self._take(inner, f"{prefix}{name}/", seen, left)
            elif stat.S_ISLNK(status.st_mode):
                kept.target = os.readlink(name, dir_fd=folder)
            elif stat.S_ISREG(status.st_mode):
                left[0] -= status.st_blocks * 512
                if left[0] < 0:
                    raise Refused(f"{self._workspace} has too many files of several names; it was not copied.")
                kept.place = str(len(self._kept))
                kept.stamp = self._copy_in(folder, name, kept.place)
            else:
                del self._kept[prefix + name]

    def _copy_in(self, folder: int, name: str, place: str) -> tuple[int, ...] | None:
        source = os.open(name, _READ, dir_fd=folder)
        try:
            status = os.fstat(source)
            copy = os.open(self._copies / place, _NEW, 0o600)
            try:
                _copy(source, copy, status.st_size)
            finally:
                os.close(copy)
            return _stamp(status)
        finally:
            os.close(source)

    def _restore_all(self) -> None:
        wanted: dict[str, list[str]] = {}
        for path in self._kept:
            parent, _, name = path.rpartition("/")
            wanted.setdefault(parent, []).append(name)
        fd = os.open(self._workspace, _FOLDER)
        try:
            self._restore(fd, "", wanted)
        finally:
            os.close(fd)

    def _restore(self, folder: int, path: str, wanted: dict[str, list[str]]) -> None:
        names = wanted.get(path, [])
        for name in set(os.listdir(folder)).difference(names):
            if not is_of_git(name):
                _remove(folder, name)
        for name in names:
            inner_path = f"{path}/{name}" if path else name
            kept = self._kept[inner_path]
            if stat.S_ISDIR(kept.mode):
                self._folder(folder, name, inner_path, wanted)
            elif stat.S_ISLNK(kept.mode):
                _link(folder, name, kept.target)
            else:
                self._file(folder, name, kept)

    def _folder(self, folder: int, name: str, path: str, wanted: dict[str, list[str]]) -> None:
        kept = self._kept[path]
        status = _look(folder, name)
        if status is None or not stat.S_ISDIR(status.st_mode):
            _remove(folder, name)
            os.mkdir(name, 0o700, dir_fd=folder)
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        with entered(folder, name, status) as inner:
            self._restore(inner, path, wanted)
        if stat.S_IMODE(status.st_mode) != stat.S_IMODE(kept.mode):
            os.chmod(name, stat.S_IMODE(kept.mode), dir_fd=folder)

    def _file(self, folder: int, name: str, kept: _Kept) -> None:
        status = _look(folder, name)
        if status is not None and kept.stamp is not None and _stamp(status) == kept.stamp:
            return
        scratch = f".treadle-{secrets.token_hex(8)}"
        source = os.open(self._copies / kept.place, _READ)
        target = os.open(scratch, _NEW, 0o600, dir_fd=folder)
        try:
            _copy(source, target, os.fstat(source).st_size)
            os.fchmod(target, stat.S_IMODE(kept.mode))
            os.utime(target, ns=(kept.modified_ns, kept.modified_ns))
            if status is not None and stat.S_ISDIR(status.st_mode):
                _remove(folder, name)
            os.rename(scratch, name, src_dir_fd=folder, dst_dir_fd=folder)
            kept.stamp = _stamp(os.fstat(target))
        except BaseException:
            with suppress(OSError):
                os.unlink(scratch, dir_fd=folder)
            raise
        finally:
            os.close(source)
            os.close(target)


def _scratch(workspace: Path) -> str:
    """A folder beside the workspace, where blocks can be shared; elsewhere if that is not ours to write."""
    try:
        return tempfile.mkdtemp(prefix=f".{workspace.name}.treadle-snapshot-", dir=workspace.parent)
    except OSError:
        return tempfile.mkdtemp(prefix="treadle-snapshot-")


def _stamp(status: os.stat_result) -> tuple[int, ...] | None:
    """The time of the last change of the inode cannot be set by whom we do not trust."""
    if time.time_ns() - status.st_ctime_ns < _CLOCK_NANOSECONDS:
        return None
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _link(folder: int, name: str, target: str) -> None:
    status = _look(folder, name)
    if status is not None and stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == target:
        return
    _remove(folder, name)
    os.symlink(target, name, dir_fd=folder)


def _remove(folder: int, name: str) -> None:
    """Remove whatever has this name, and nothing that a link leads to."""
    status = _look(folder, name)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=folder)
        return
    with entered(folder, name, status) as inner:
        for each in os.listdir(inner):
            _remove(inner, each)
    os.rmdir(name, dir_fd=folder)


def _copy(source: int, target: int, size: int) -> None:
    """Copy a file without its holes: they would take room that the original does not."""
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            break
        end = min(os.lseek(source, at, os.SEEK_HOLE), size)
        os.lseek(source, at, os.SEEK_SET)
        os.lseek(target, at, os.SEEK_SET)
        while at < end:
            at += _copy_some(source, target, end - at) or size
    os.ftruncate(target, size)


def _copy_some(source: int, target: int, count: int) -> int:
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # between file systems, on some kernels
            return os.copy_file_range(source, target, count)
    data = os.read(source, min(count, MIB))
    return os.write(target, data) if data else 0
