"""Sandbox without namespaces, for machines that forbid them: Landlock for files, seccomp for all else.

Weaker than bubblewrap, and it says where: names and sizes of the host's files can be asked for (not their content), and
processes of the host can be seen to exist.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes import _seccomp
from treadle.sandboxes._cgroup import Controllers
from treadle.sandboxes._launched import Launch, launch
from treadle.sandboxes._outlet import Outlet
from treadle.sandboxes._rlimits import limit_guarantees
from treadle.sandboxes._runtime import ETC, environment, find_runtime, private_folder
from treadle.sandboxes._spawned import Spawned
from treadle.sandboxes._workspace import Call, WorkspaceSandbox

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
_READABLE = (
    "/dev/random",
    "/dev/urandom",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/random",
    "/proc/sys/vm/overcommit_memory",
)


class LandlockSandbox(WorkspaceSandbox):
    """Runs each call under Landlock and a system call filter, with a launcher that answers for the rest.

    The workspace keeps its own path inside. `.git` in it is set aside during a call, so its calls take turns.
    No sockets at all but pairs; no System V or POSIX IPC between processes.
    """

    name = "landlock"

    def __init__(self, workspace: Path, *, abi: int, limits: Limits, controllers: Controllers | None) -> None:
        """`abi` as `_kernel.landlock_abi()` reports it, or a lower one to do without what came later."""
        super().__init__(workspace, limits=limits)
        self._abi = abi
        self._controllers = controllers
        self._runtime = find_runtime()
        self._filter = _seccomp.program(_rules(abi))
        self._turn = asyncio.Lock()

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        held = {
            Guarantee.NO_NETWORK,
            Guarantee.FILES_CONFINED,
            Guarantee.GIT_PROTECTED,
            Guarantee.NO_CAPABILITIES,
            Guarantee.TREE_KILLED,
            Guarantee.SYSCALL_FILTER,
        }
        return frozenset(held) | limit_guarantees(self._controllers)

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        reads: Sequence[Path] = (),
        with_workspace: bool = True,
    ) -> Spawned:
        """Start one command and return; see the port. Only without the workspace."""
        if with_workspace:
            what = "Landlock cannot keep a process away from .git of a workspace; it was not started."
            raise SandboxUnavailable(what, hint="Install bubblewrap, or let it do without the workspace.")
        return await super().spawn(argv, limits=limits, env=env, reads=reads, with_workspace=False)

    async def _start(self, call: Call, outlet: Outlet | None) -> ExecResult:
        aside = self._workspace.parent / f".{self._workspace.name}.treadle-git"
        with private_folder(self._runtime) as (folder, search_path):
            home = f"{folder}/home"
            what = Launch(
                call.words,
                environment(search_path, home=home, tmp=folder, extra=call.env),
                str(call.folder or home),
                call.stdin,
                confine=self._confine(folder, call.reads, with_workspace=call.folder is not None),
                git_aside=str(aside) if call.folder else "",
                pipes=call.pipes,
            )
            # With the workspace, the launcher waits for other processes too; but there the wall time runs.
            async with self._turn if call.folder else nullcontext():
                return await launch(what, call.limits, self._controllers)

    def _confine(self, folder: str, reads: Sequence[Path] = (), *, with_workspace: bool = True) -> dict[str, Any]:
        own = os.path.realpath(folder)
        return {
            "abi": self._abi,
            "read": [*self._runtime.system, *self._runtime.python, *ETC, *_READABLE, *map(str, reads)],
            "write": [str(self._workspace), own] if with_workspace else [own],
            "devices": list(_DEVICES),
            "filter": self._filter,
            "listen": True,
        }


def _rules(abi: int) -> tuple[_seccomp.Rule, ...]:
    rules = _seccomp.COMMON + _seccomp.SHARED_WITH_HOST + _seccomp.ASKED + _seccomp.UNASKED
    if abi < 3:
        rules += _seccomp.BEFORE_TRUNCATE_RIGHT
    if abi < 6:
        rules += _seccomp.BEFORE_SIGNAL_SCOPE
    return rules
