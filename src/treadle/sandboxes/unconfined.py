"""No sandbox at all, for those who ask for it by name: limits and clean-up as elsewhere, and no wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes._calls import Calls
from treadle.sandboxes._cgroup import Controllers
from treadle.sandboxes._files import WorkspaceFiles
from treadle.sandboxes._launched import Launch, launch
from treadle.sandboxes._runtime import check_argv, environment, find_runtime, private_folder
from treadle.sandboxes._snapshot import FolderSnapshot
from treadle.sandboxes._spawned import ChildPipes, Spawned, without_end


class UnconfinedSandbox:
    """Runs commands as the caller, with the caller's files and network. It holds no guarantee."""

    name = "none"

    def __init__(self, workspace: Path, *, limits: Limits, controllers: Controllers | None) -> None:
        self._workspace = workspace.resolve()
        self._files = WorkspaceFiles(self._workspace)
        self._limits = limits
        self._controllers = controllers
        self._runtime = find_runtime()
        self._calls = Calls()

    @property
    def workspace(self) -> Path:
        return self._workspace

    @property
    def files(self) -> WorkspaceFiles:
        return self._files

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        return frozenset()

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
        """Start one command and return; see the port. It may read what the caller may."""
        words, bounds = check_argv(argv), without_end(limits or self._limits)
        return Spawned(self._calls, lambda pipes: self._exec(words, bounds, env, b"", pipes, with_workspace))

    async def snapshot(self) -> FolderSnapshot:
        """Keep what the workspace holds; see the port."""
        return await FolderSnapshot.take(self._workspace)

    async def close(self) -> None:
        """End what is still running. Idempotent."""
        await self._calls.close()

    async def _exec(
        self,
        argv: tuple[str, ...],
        limits: Limits,
        env: Mapping[str, str] | None,
        stdin: bytes,
        pipes: ChildPipes | None = None,
        with_workspace: bool = True,
    ) -> ExecResult:
        with private_folder(self._runtime) as (folder, search_path):
            variables = environment(search_path, home=f"{folder}/home", tmp=folder, extra=env)
            at = str(self._workspace) if with_workspace else f"{folder}/home"
            return await launch(Launch(argv, variables, at, stdin, pipes=pipes), limits, self._controllers)
