"""Who descends from whom, read from /proc. Imported by the launcher, so it imports next to nothing itself."""

from __future__ import annotations

import os
import time

SIGKILL = 9
"""Not from `signal`: that module brings enum, and with it a third of the launcher's start."""


def descendants(ancestor: int) -> list[int]:
    """Every process below this one, nearest first."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    found = list(children.get(ancestor, ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def kill_descendants() -> None:
    """Kill everything below us until nothing is left. Who loses its parent becomes our child, so nothing escapes."""
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # without a child there is nothing below us: looking through /proc would cost more
            return
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.0005)


def all_pids() -> list[int]:
    """Every process that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def group_of(pid: int) -> int | None:
    """Its process group; None if it is gone."""
    fields = _stat(pid)
    return int(fields[2]) if fields else None


def leader_of(thread: int) -> int | None:
    """The process of a thread id; None if it is gone."""
    try:
        with open(f"/proc/{thread}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Tgid:")), None)
    except OSError:
        return None


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on: state, parent, group, ..."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
