"""Keeps `.git` of a workspace out of a mount namespace, also where there is none yet.

Git outside runs what `.git/config` and `.git/hooks` name. So code inside must neither change them nor make them.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

from treadle.errors import SandboxUnavailable


class GitMask:
    """Context: `path` is what a mount must cover. A missing `.git` is made, empty, and removed after the last call.

    It is removed only while it is empty: what somebody outside put there meanwhile is never touched.
    """

    _lock: ClassVar[threading.Lock] = threading.Lock()
    _made: ClassVar[dict[Path, int]] = {}
    """Folders that we made, and the number of calls that need them."""

    def __init__(self, workspace: Path) -> None:
        self.path = workspace / ".git"

    def __enter__(self) -> GitMask:
        with self._lock:
            if self.path.is_symlink():
                raise SandboxUnavailable(
                    f"{self.path} is a symbolic link, which cannot be protected; the command did not run.",
                    hint="Use a real .git folder, or a worktree's .git file.",
                )
            if self.path in self._made:
                self._made[self.path] += 1
            elif not self.path.exists():
                self._make()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if self.path not in self._made:
                return
            self._made[self.path] -= 1
            if self._made[self.path] == 0:
                del self._made[self.path]
                try:
                    self.path.rmdir()
                except OSError:  # no longer empty, or gone: somebody outside uses it
                    pass

    def _make(self) -> None:
        try:
            self.path.mkdir()
        except OSError as error:
            raise SandboxUnavailable(f"The workspace cannot be used: {error}. The command did not run.") from error
        self._made[self.path] = 1
