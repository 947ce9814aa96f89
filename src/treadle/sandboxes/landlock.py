"""Sandbox without namespaces, for machines that forbid them: Landlock for files, seccomp for all else.

Weaker than bubblewrap, and it says where: names and sizes of the host's files can be asked for (not their content), and
processes of the host can be seen to exist.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes import _seccomp
from treadle.sandboxes._calls import Calls
from treadle.sandboxes._cgroup import Controllers
from treadle.sandboxes._files import WorkspaceFiles
from treadle.sandboxes._launched import Launch, launch
from treadle.sandboxes._rlimits import limit_guarantees
from treadle.sandboxes._runtime import ETC, check_argv, environment, find_runtime, private_folder
from treadle.sandboxes._snapshot import FolderSnapshot
from treadle.sandboxes._spawned import ChildPipes, Spawned, without_end

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


class LandlockSandbox:
    """Runs each call under Landlock and a system call filter, with a launcher that answers for the rest.

    The workspace keeps its own path inside. `.git` in it is set aside during a call, so its calls take turns.
    No sockets at all but pairs; no System V or POSIX IPC between processes.
    """

    name = "landlock"

    def __init__(self, workspace: Path, *, abi: int, limits: Limits, controllers: Controllers | None) -> None:
        """`abi` as `_kernel.landlock_abi()` reports it, or a lower one to do without what came later."""
        self._workspace = workspace.resolve()
        self._files = WorkspaceFiles(self._workspace)
        self._abi = abi
        self._limits = limits
        self._controllers = controllers
        self._runtime = find_runtime()
        self._filter = _seccomp.program(_rules(abi))
        self._calls = Calls()
        self._turn = asyncio.Lock()

    @property
    def workspace(self) -> Path:
        return self._workspace

    @property
    def files(self) -> WorkspaceFiles:
        return self._files

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

    async def exec(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> ExecResult:
        """Run one command; see the port."""
        return await self._calls.run(self._exec(check_argv(argv), limits or self._limits, env, stdin))

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
        words, bounds = check_argv(argv), without_end(limits or self._limits)
        if with_workspace:
            what = "Landlock cannot keep a process away from .git of a workspace; it was not started."
            raise SandboxUnavailable(what, hint="Install bubblewrap, or let it do without the workspace.")
        return Spawned(self._calls, lambda pipes: self._aside(words, bounds, env, reads, pipes))

    async def snapshot(self) -> FolderSnapshot:
        """Keep what the workspace holds; see the port."""
        return await FolderSnapshot.take(self._workspace)

    async def close(self) -> None:
        """End what is still running. Idempotent."""
        await self._calls.close()

    async def _exec(
        self, argv: tuple[str, ...], limits: Limits, env: Mapping[str, str] | None, stdin: bytes
    ) -> ExecResult:
        aside = self._workspace.parent / f".{self._workspace.name}.treadle-git"
        with private_folder(self._runtime) as (folder, search_path):
            variables = environment(search_path, home=f"{folder}/home", tmp=folder, extra=env)
            what = Launch(
                argv, variables, str(self._workspace), stdin, confine=self._confine(folder), git_aside=str(aside)
            )
            async with self._turn:  # the launcher waits too, for other processes; but there the wall time runs
                return await launch(what, limits, self._controllers)

    async def _aside(
        self,
        argv: tuple[str, ...],
        limits: Limits,
        env: Mapping[str, str] | None,
        reads: Sequence[Path],
        pipes: ChildPipes,
    ) -> ExecResult:
        """Run a command in a folder of its own."""
        with private_folder(self._runtime) as (folder, search_path):
            home = f"{folder}/home"
            variables = environment(search_path, home=home, tmp=folder, extra=env)
            confine = self._confine(folder, reads, with_workspace=False)
            what = Launch(argv, variables, home, b"", confine=confine, pipes=pipes)
            return await launch(what, limits, self._controllers)

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
