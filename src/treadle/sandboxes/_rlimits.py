"""Limits of single processes: the lower net where there is no cgroup, and the only one for files and CPU time."""

from __future__ import annotations

import os
import platform
import resource

from treadle.ports.sandbox import Guarantee, Limits
from treadle.sandboxes._cgroup import Controllers

Rlimits = tuple[tuple[int, int, int], ...]
"""(resource, soft, hard) rows."""


RLIMIT_NAMES = {
    resource.RLIMIT_CORE: "core",
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_FSIZE: "fsize",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_DATA: "data",
    resource.RLIMIT_NPROC: "nproc",
}
"""As container engines call them; they have none for the address space."""


def rlimits(limits: Limits, controllers: Controllers | None, *, own_user_namespace: bool) -> Rlimits:
    """What every process of a call gets.

    Memory: with a cgroup the whole call is bounded and no process needs a limit. Without one, data pages are bounded in
    each process; address space gets four times as much, because Node, Go and Java reserve far more than they use.
    """
    rows = [
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
    ]
    if controllers is None or not controllers.memory:
        rows.append((resource.RLIMIT_DATA, limits.memory_bytes, limits.memory_bytes))
        rows.append((resource.RLIMIT_AS, 4 * limits.memory_bytes, 4 * limits.memory_bytes))
    if controllers is None or not controllers.pids:
        processes = limits.processes + (0 if own_user_namespace and _counted_per_namespace() else _threads_of_user())
        rows.append((resource.RLIMIT_NPROC, processes, processes))
    return tuple(_within_ours(*row) for row in rows)


def limit_guarantees(controllers: Controllers | None) -> frozenset[Guarantee]:
    """What these limits and a call's cgroup hold together, for this user."""
    held = {Guarantee.PROCESS_MEMORY_LIMIT, Guarantee.DISK_LIMIT}
    if controllers is not None and controllers.cpu:
        held.add(Guarantee.CPU_LIMIT)
    if controllers is not None and controllers.memory:
        held.add(Guarantee.MEMORY_LIMIT)
    # The kernel exempts its root user from RLIMIT_NPROC: in a user namespace and without capabilities, too.
    if os.getuid() != 0 or (controllers is not None and controllers.pids):
        held.add(Guarantee.PROCESS_LIMIT)
    return frozenset(held)


def _within_ours(kind: int, soft: int, hard: int) -> tuple[int, int, int]:
    """An ordinary user cannot raise a hard limit: keep what we have if it is stricter."""
    ours = resource.getrlimit(kind)[1]
    if ours == resource.RLIM_INFINITY:
        return kind, soft, hard
    return kind, min(soft, ours), min(hard, ours)


def _counted_per_namespace() -> bool:
    """Since Linux 5.14 a user namespace counts its own processes; before, all of the user's count."""
    release = platform.release().split(".")
    try:
        return (int(release[0]), int(release[1])) >= (5, 14)
    except (IndexError, ValueError):
        return False


def _threads_of_user() -> int:
    """Threads that this user runs already, anywhere on the machine: RLIMIT_NPROC counts them all."""
    uid, count = os.getuid(), 0
    for entry in os.scandir("/proc") if os.path.isdir("/proc/self") else ():
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == uid:
                with open(f"/proc/{entry.name}/stat") as file:
                    count += int(file.read().rpartition(")")[2].split()[17])
        except (OSError, ValueError, IndexError):
            continue
    return count
