"""Locks between processes, as files. The kernel lets go of a lock when its holder dies, however it dies.

Threads are no concern here; every holder opens the file for itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_POLL_SECONDS = 0.02


class FileLock:
    """An advisory lock on a file, shared or exclusive.

    Not reentrant; usable once at a time. As a context manager it only releases: take it with `take` or `try_take`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def fileno(self) -> int | None:
        """The open file that holds the lock; a child that inherits it holds the lock too."""
        return self._fd

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free, or change a held one to the other kind. Never waits."""
        if self._fd is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        return True

    async def take(self, *, shared: bool = False, on_wait: Callable[[], None] | None = None) -> None:
        """Wait for the lock. May be cancelled. `on_wait` is called each time it was found taken."""
        while not self.try_take(shared=shared):
            if on_wait is not None:
                on_wait()
            await asyncio.sleep(_POLL_SECONDS)

    def touch(self) -> None:
        """Set the file's time to now: the mark of last use that `last_use` reads."""
        if self._fd is not None:
            os.utime(self._fd)

    def release(self) -> None:
        """Let go. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Tell whether some process holds the lock exclusively. Does not create the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who ask at the same moment do not see each other.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def last_use(path: Path) -> float:
    """Return the time of the last `touch`, in seconds since 1970; 0 if there is no such file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
