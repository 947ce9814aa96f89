"""No sandbox at all, for those who ask for it by name: limits and clean-up as elsewhere, and no wall."""

from __future__ import annotations

from pathlib import Path

from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes._cgroup import Controllers
from treadle.sandboxes._launched import Launch, launch
from treadle.sandboxes._outlet import Outlet
from treadle.sandboxes._runtime import environment, find_runtime, private_folder
from treadle.sandboxes._workspace import Call, WorkspaceSandbox


class UnconfinedSandbox(WorkspaceSandbox):
    """Runs commands as the caller, with the caller's files and network. It holds no guarantee."""

    name = "none"

    def __init__(self, workspace: Path, *, limits: Limits, controllers: Controllers | None) -> None:
        super().__init__(workspace, limits=limits)
        self._controllers = controllers
        self._runtime = find_runtime()

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        return frozenset()

    async def _start(self, call: Call, outlet: Outlet | None) -> ExecResult:
        with private_folder(self._runtime) as (folder, search_path):
            home = f"{folder}/home"
            variables = environment(search_path, home=home, tmp=folder, extra=call.env)
            what = Launch(call.words, variables, str(call.folder or home), call.stdin, pipes=call.pipes)
            return await launch(what, call.limits, self._controllers)
