"""Limits of memory, processes and processor over a whole call, by cgroup v2 or v1, where this process may make one."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import Limits

_PREFIX = f"treadle-{os.getpid()}-{secrets.token_hex(4)}"
_NUMBERS = itertools.count()
_REMOVE_SECONDS = 2.0
_PAUSE_SECONDS = 0.0002
"""Most groups are empty at once or in as long as a process takes to go."""
_LONGEST_PAUSE_SECONDS = 0.005
_KINDS = ("memory", "pids", "cpu")
_PERIOD_MICROSECONDS = 100_000


@dataclass(frozen=True, slots=True)
class Controllers:
    """Folders in which a group can be made, and which limits it would hold.

    v2 has one folder for all; v1 one folder for each; a limit without a folder is not held.
    """

    version: int
    parents: Mapping[str, Path]

    @property
    def memory(self) -> bool:
        return "memory" in self.parents

    @property
    def pids(self) -> bool:
        return "pids" in self.parents

    @property
    def cpu(self) -> bool:
        return "cpu" in self.parents

    def open(self, limits: Limits) -> Group:
        """Make a group with these limits.

        Raises:
            OSError: The kernel refused; nothing is left behind.
        """
        name = f"{_PREFIX}-{next(_NUMBERS)}"
        wanted = {kind: parent for kind, parent in self.parents.items() if kind != "cpu" or limits.cpus}
        group = Group(self.version, {kind: parent / name for kind, parent in wanted.items()})
        try:
            for folder in group.folders:
                folder.mkdir()
            for kind, folder in group.kinds.items():
                _write_limits(self.version, kind, folder, limits)
        except OSError:
            group.close()
            raise
        return group


@dataclass(frozen=True, slots=True)
class Group:
    """One cgroup (or, in v1, one in each hierarchy)."""

    version: int
    kinds: Mapping[str, Path]

    @property
    def folders(self) -> list[Path]:
        return list(dict.fromkeys(self.kinds.values()))

    def add(self, pid: int) -> None:
        """Move one process into the group; what it starts later is born there. May wait some milliseconds."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def out_of_memory(self) -> bool:
        """Has the kernel killed a process of the group for want of memory?"""
        folder = self.kinds.get("memory")
        if folder is None:
            return False
        file = folder / ("memory.events" if self.version == 2 else "memory.oom_control")
        try:
            counts = dict(line.split() for line in file.read_text().splitlines())
        except (OSError, ValueError):
            return False
        return int(counts.get("oom_kill", 0)) > 0

    def close(self) -> None:
        """Kill what is still inside and remove the group. Idempotent; waits up to two seconds for the last to go."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        for folder in self.folders:
            pause = _PAUSE_SECONDS
            while not _removed(folder) and time.monotonic() < deadline:
                for pid in _members(folder):
                    _kill(pid)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@contextlib.contextmanager
def call_group(controllers: Controllers | None, limits: Limits) -> Iterator[Group | None]:
    """A group for one call, gone with all its processes at the end; None where there are no controllers.

    Raises:
        SandboxUnavailable: It was probed to work and does not any more: without it the promised limits would not hold.
    """
    if controllers is None:
        yield None
        return
    try:
        group = controllers.open(limits)
    except OSError as error:
        raise SandboxUnavailable(f"No cgroup could be made: {error}. The command did not run.") from error
    try:
        yield group
    finally:
        group.close()


def find_controllers(root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self/cgroup")) -> Controllers | None:
    """Where groups can be made, tried by making one; None if nowhere."""
    try:
        lines = [line.split(":", 2) for line in proc.read_text().splitlines()]
    except OSError:
        return None
    for candidate in (_version_2(root, lines), _version_1(root, lines)):
        parents = {kind: parent for kind, parent in candidate.parents.items() if _usable(parent)}
        if parents:
            return Controllers(candidate.version, parents)
    return None


def _version_2(root: Path, lines: list[list[str]]) -> Controllers:
    """The nearest folder above our own group that hands controllers down to its children.

    Our own group cannot: a v2 group that holds processes has no controlled children.
    """
    own = next((path for number, names, path in lines if number == "0" and not names), None)
    if own is None:
        return Controllers(2, {})
    folder = root / own.strip("/")
    for parent in folder.parents:
        if root not in (parent, *parent.parents):
            break
        try:
            handed_down = (parent / "cgroup.subtree_control").read_text().split()
        except OSError:
            continue
        kinds: dict[str, Path] = {kind: parent for kind in _KINDS if kind in handed_down}
        if kinds and os.access(parent / "cgroup.procs", os.W_OK):
            return Controllers(2, kinds)
    return Controllers(2, {})


def _version_1(root: Path, lines: list[list[str]]) -> Controllers:
    parents: dict[str, Path] = {}
    for _, names, path in lines:
        for kind in (kind for kind in names.split(",") if kind in _KINDS):
            parents[kind] = root / names / path.strip("/")
    return Controllers(1, parents)


def _usable(parent: Path) -> bool:
    _remove_orphans(parent)
    probe = parent / f"{_PREFIX}-{next(_NUMBERS)}"
    try:
        probe.mkdir()
    except OSError:
        return False
    usable = (probe / "cgroup.procs").exists()
    probe.rmdir()
    return usable


def _remove_orphans(parent: Path) -> None:
    """Groups of a Treadle that was killed: empty by now, because its calls died with it."""
    for folder in parent.glob("treadle-*"):
        owner = folder.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            _removed(folder)


def _write_limits(version: int, kind: str, folder: Path, limits: Limits) -> None:
    for name, value, needed in _limit_files(version, kind, limits):
        try:
            (folder / name).write_text(str(value))
        except OSError:
            if needed:
                raise


def _limit_files(version: int, kind: str, limits: Limits) -> Iterator[tuple[str, int | str, bool]]:
    """(file, value, whether the limit is worthless without it); swap accounting is missing on many machines."""
    if kind == "pids":
        yield "pids.max", limits.processes, True
    elif kind == "cpu":
        quota = max(1000, round(limits.cpus * _PERIOD_MICROSECONDS))  # the kernel takes no less
        if version == 2:
            yield "cpu.max", f"{quota} {_PERIOD_MICROSECONDS}", True
        else:
            yield "cpu.cfs_period_us", _PERIOD_MICROSECONDS, True
            yield "cpu.cfs_quota_us", quota, True
    elif version == 2:
        yield "memory.max", limits.memory_bytes, True
        yield "memory.swap.max", 0, False
        yield "memory.oom.group", 1, False
    else:
        yield "memory.limit_in_bytes", limits.memory_bytes, True
        yield "memory.memsw.limit_in_bytes", limits.memory_bytes, False


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _members(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
