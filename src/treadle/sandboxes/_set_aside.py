"""Moves `.git` out of the workspace for the length of a call.

Landlock cannot make one part of a writable folder read-only, so the repository must not be there at all. Imported by
the launcher, which restores it also when Treadle dies.
"""

from __future__ import annotations

import os

from treadle.removal import remove_tree


class SetAside:
    """`path` is renamed to `aside` at the start and back at the end; what stands in its place by then is removed."""

    def __init__(self, path: str, aside: str) -> None:
        self._path, self._aside = path, aside
        self.restore(planted=False)
        if os.path.lexists(path):
            os.rename(path, aside)

    def restore(self, *, planted: bool = True) -> None:
        """Put it back. Without anything set aside, `planted` says whether a new one is the command's and goes."""
        displaced = f"{self._aside}-planted"
        there = os.path.lexists(self._aside)
        if (planted or there) and os.path.lexists(self._path):
            try:
                os.rename(self._path, displaced)
            except OSError:  # the folder above is not ours to write; then nothing is set aside there either
                remove_tree(self._path)
        if there:
            os.rename(self._aside, self._path)
        if os.path.lexists(displaced):
            remove_tree(displaced)
