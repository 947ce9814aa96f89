"""How much of the disk a workspace takes, and the end of a call that adds more to it than it may.

No file system that keeps results can be given a size by an ordinary user. So it is measured while the call runs: often
when the disk fills, seldom when it does not. What is written between two looks is the price, and the port says so.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from treadle.ports.sandbox import Limits
from treadle.sandboxes._process_tree import descendants

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK_SECONDS = 0.05
"""Between two looks at how full the disk is, which cost next to nothing."""
_MEASURE_SECONDS = 1.0
"""After which the workspace is measured in any case: somebody else may have made room meanwhile."""
_REST = 4
"""Measuring takes at most one part of the time in one and this many."""
_DEPTH = 100
"""Folders in folders that are entered. What lies deeper counts as too many files."""
_BLOCK = 512


@dataclass(slots=True)
class Usage:
    """What a folder takes."""

    bytes: int = 0
    """Of the disk: a file with holes takes less than its size."""
    files: int = 0
    """And folders."""
    shared: set[tuple[int, int]] = field(default_factory=set, repr=False)
    """Files of several names that have been counted."""
    without: int = 0
    """Inode of a folder that is left out."""

    def add(self, status: os.stat_result) -> None:
        """Count one more name."""
        self.files += 1
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in self.shared:
                return
            self.shared.add(identity)
        self.bytes += status.st_blocks * _BLOCK


def measure(folder: Path, *, most_files: int = 1 << 62, without: int = 0) -> Usage:
    """Add up what lies below a folder; stop early once there are more files than `most_files`.

    The folder with the inode `without` is left out.

    No symbolic link is followed, whatever is swapped meanwhile. A folder of ours without rights is entered too.
    """
    usage = Usage(without=without)
    try:
        fd = os.open(folder, _FOLDER)
    except FileNotFoundError:  # somebody outside removed it
        return usage
    try:
        _add_below(fd, usage, most_files, _DEPTH)
    finally:
        os.close(fd)
    return usage


def _add_below(folder: int, usage: Usage, most_files: int, depth: int) -> None:
    if depth == 0:
        usage.files = most_files + 1
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if usage.files > most_files:
                return
            with suppress(OSError):  # gone meanwhile, or swapped
                status = entry.stat(follow_symlinks=False)
                if status.st_ino == usage.without:
                    continue
                usage.add(status)
                if stat.S_ISDIR(status.st_mode):
                    with entered(folder, entry.name, status) as inner:
                        _add_below(inner, usage, most_files, depth - 1)


@contextmanager
def entered(folder: int, name: str, status: os.stat_result) -> Iterator[int]:
    """An open folder in a folder. What it holds must not be hidden from us by taking its rights away."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXU == stat.S_IRWXU or status.st_uid != os.geteuid() or not hasattr(os, "O_PATH"):
        fd = os.open(name, _FOLDER, dir_fd=folder)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    held = os.open(name, os.O_PATH | _FOLDER, dir_fd=folder)
    place = f"/proc/self/fd/{held}"
    try:
        os.chmod(place, stat.S_IRWXU)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
            os.chmod(place, mode)
    finally:
        os.close(held)


def unlinked(ancestor: int, device: int) -> int:
    """Bytes of files without a name that processes below `ancestor` hold on a file system, open or mapped. Linux."""
    sizes: dict[int, int] = {}
    for pid in descendants(ancestor):
        try:
            sizes |= _mapped(pid, device) | _open(pid, device)
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return sum(sizes.values())


def _open(pid: int, device: int) -> dict[int, int]:
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        status = os.stat(f"/proc/{pid}/fd/{name}")
        if status.st_nlink == 0 and status.st_dev == device and stat.S_ISREG(status.st_mode):
            found[status.st_ino] = status.st_blocks * _BLOCK
    return found


def _mapped(pid: int, device: int) -> dict[int, int]:
    """By inode; what of a file is mapped may be less than it has, or a hole."""
    found: dict[int, int] = {}
    with open(f"/proc/{pid}/maps", errors="replace") as file:
        for line in file:
            span, _, _, place, inode, *_ = line.split()
            if line.endswith(" (deleted)\n") and place == f"{os.major(device):02x}:{os.minor(device):02x}":
                begin, end = (int(part, 16) for part in span.split("-"))
                found[int(inode)] = found.get(int(inode), 0) + end - begin
    return found


class DiskWatch:
    """What one call adds to a workspace. Make it before the call begins, with `begun`."""

    def __init__(self, folder: Path, limits: Limits, before: Usage) -> None:
        self._git = before.without
        self.is_full = False
        """Whether it has been found to add too much."""
        self._folder = folder
        self._device = os.stat(folder).st_dev
        self._most_bytes = before.bytes + limits.disk_bytes
        self._most_files = before.files + limits.files
        self._left = limits.disk_bytes
        self._left_files = limits.files

    @classmethod
    async def begun(cls, folder: Path, limits: Limits) -> DiskWatch:
        """Measure what is there before a call.

        The repository in it is left out: the call has no access to it, and may not find it there at all. What the call
        puts in its place counts.
        """
        try:
            git = os.lstat(folder / ".git").st_ino
        except OSError:
            git = 0
        return cls(folder, limits, await asyncio.to_thread(measure, folder, without=git))

    async def exceeded(self, pid: Callable[[], int | None]) -> None:
        """Return once the call, whose processes are below `pid()`, has added too much. Cancel it when it ended.

        `pid` is called in a thread.
        """
        measured, taken = time.monotonic(), 0.0
        used, names = self._used()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            used_now, names_now = self._used()
            fills = used_now - used > self._left // 2 or names_now - names > self._left_files // 2
            if now - measured < (_REST * taken if fills else max(_MEASURE_SECONDS, _REST * taken)):
                continue
            await asyncio.to_thread(lambda: self.look(pid()))
            if self.is_full:
                return
            measured = time.monotonic()
            taken = measured - now
            used, names = used_now, names_now

    def look(self, pid: int | None = None) -> None:
        """Measure. With `pid`, files that have no name any more count too."""
        usage = measure(self._folder, most_files=self._most_files, without=self._git)
        taken = usage.bytes + (unlinked(pid, self._device) if pid is not None else 0)
        self._left = self._most_bytes - taken
        self._left_files = self._most_files - usage.files
        self.is_full = self.is_full or self._left < 0 or self._left_files < 0

    def _used(self) -> tuple[int, int]:
        """Bytes and files on the whole file system."""
        status = os.statvfs(self._folder)
        return (status.f_blocks - status.f_bfree) * status.f_frsize, status.f_files - status.f_ffree
