"""What all backends share: a workspace, calls in it, and, where hosts are allowed, the way out of a call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from treadle.egress.allowed import Egress
from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes._calls import Calls
from treadle.sandboxes._files import WorkspaceFiles
from treadle.sandboxes._outlet import Outlet, no_way_out
from treadle.sandboxes._process import Pipes
from treadle.sandboxes._runtime import check_argv, environment
from treadle.sandboxes._snapshot import FolderSnapshot
from treadle.sandboxes._spawned import Spawned, without_end

IN_NAMESPACES = frozenset(
    {
        Guarantee.FILES_CONFINED,
        Guarantee.GIT_PROTECTED,
        Guarantee.PROCESSES_HIDDEN,
        Guarantee.NO_CAPABILITIES,
        Guarantee.TREE_KILLED,
    }
)
"""What namespaces of its own hold, whoever made them."""


@dataclass(frozen=True, slots=True)
class Call:
    """One command, and what is around it."""

    words: tuple[str, ...]
    limits: Limits
    env: Mapping[str, str] | None = None
    stdin: bytes = b""
    folder: Path | None = None
    """The workspace; None: it is not there."""
    reads: tuple[Path, ...] = ()
    pipes: Pipes | None = None


class WorkspaceSandbox(ABC):
    """Implements `ports.sandbox.Sandbox` and `Spawning` but for the walls, which `_start` puts around a call."""

    def __init__(self, workspace: Path, *, limits: Limits, egress: Egress | None = None) -> None:
        """`egress`: the hosts that commands may reach; None: there is no network."""
        self._workspace = workspace.resolve()
        self._files = WorkspaceFiles(self._workspace)
        self._limits = limits
        self._egress = egress
        self._calls = Calls()

    @property
    def workspace(self) -> Path:
        return self._workspace

    @property
    def files(self) -> WorkspaceFiles:
        return self._files

    async def exec(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> ExecResult:
        """Run one command; see the port."""
        call = Call(check_argv(argv), limits or self._limits, _checked(env), stdin, folder=self._workspace)
        return await self._calls.run(self._run(call))

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        reads: Sequence[Path] = (),
        with_workspace: bool = True,
    ) -> Spawned:
        """Start one command and return; see the port."""
        bounds, folder = without_end(limits or self._limits), self._workspace if with_workspace else None
        call = Call(check_argv(argv), bounds, _checked(env), folder=folder, reads=tuple(reads))
        return Spawned(self._calls, lambda pipes: self._run(replace(call, pipes=pipes)))

    async def snapshot(self) -> FolderSnapshot:
        """Keep what the workspace holds; see the port."""
        return await FolderSnapshot.take(self._workspace)

    async def close(self) -> None:
        """End what is still running. Idempotent."""
        await self._calls.close()

    @abstractmethod
    async def _start(self, call: Call, outlet: Outlet | None) -> ExecResult:
        """Run a call within the walls, and with the way out if there is one."""

    async def _run(self, call: Call) -> ExecResult:
        if self._egress is None:
            return await self._start(call, None)
        async with Outlet(self._egress) as outlet:
            result = await self._start(call, outlet)
        if not (outlet.is_open or result.timed_out or result.disk_full):
            raise no_way_out(result.stderr, result.exit_code)
        return replace(result, contacts=outlet.contacts)


def _checked(env: Mapping[str, str] | None) -> Mapping[str, str] | None:
    environment((), home="", tmp="", extra=env)
    return env
