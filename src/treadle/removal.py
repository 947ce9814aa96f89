"""Removes what untrusted code left behind. The launcher of the sandboxes needs it, so it imports next to nothing."""

from __future__ import annotations

import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a folder with all that is in it, or a file: however deep it is, and whatever rights were taken from it.

    No symbolic link is followed. The work does not grow with the depth of folders: those that lie in others are moved
    up to the top one, level by level. What cannot be removed stays, without an error.
    """
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        os.chmod(path, 0o700)
        top = os.open(path, _FOLDER)
    except OSError:
        return
    try:
        _empty(top)
    finally:
        os.close(top)
    try:
        os.rmdir(path)
    except OSError:
        pass


def _empty(top: int) -> None:
    moved = 0
    while True:
        went = 0
        for name in os.listdir(top):
            try:
                if not _unlinked(name, top):
                    moved = _flatten(name, top, moved)
                went += 1
            except OSError:
                continue
        if went == 0:
            return


def _flatten(name: str, top: int, moved: int) -> int:
    """Remove a folder; those in it move to the top one, under new names. How many names were given so far."""
    inner = os.open(name, _FOLDER, dir_fd=top)
    try:
        for child in os.listdir(inner):
            if not _unlinked(child, inner):
                while True:
                    moved += 1
                    new = f".treadle-{moved}"
                    if not _exists(new, top):
                        break
                os.rename(child, new, src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
    return moved


def _unlinked(name: str, folder: int) -> bool:
    """Whether it was a file and is gone; a folder gets back the rights that its owner needs."""
    try:
        os.unlink(name, dir_fd=folder)
        return True
    except (IsADirectoryError, PermissionError):
        opened = os.open(name, os.O_PATH | _FOLDER, dir_fd=folder)
        try:
            os.chmod(f"/proc/self/fd/{opened}", 0o700)
        finally:
            os.close(opened)
        return False


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
