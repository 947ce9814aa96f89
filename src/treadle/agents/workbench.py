"""Where agents try out what they made: files laid over a task's tree, and tests or commands run on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from treadle.agents.trial import Outcome, run_tests
from treadle.ports.sandbox import ExecResult, Limits, Sandbox

Files = Mapping[str, "str | None"]
"""Text by path relative to the root; None: the file goes."""


class Workbench(Protocol):
    """The files of one task, and a sandbox over them. Each call lays its files over the same beginning.

    So a call can be repeated after a crash, and none sees what another left.
    """

    async def run_tests(self, files: Files, test_file: str) -> Outcome:
        """Run one pytest file. See `agents.trial.run_tests`."""

    async def run(self, files: Files, argv: Sequence[str]) -> ExecResult:
        """Run one command. See `ports.sandbox.Sandbox.exec`."""


@dataclass(frozen=True, slots=True)
class FolderWorkbench:
    """A workbench over the folder of a sandbox, without a workspace's trees: for tests and for single tasks."""

    sandbox: Sandbox
    seconds: float = 20.0
    limits: Limits = field(default_factory=Limits)
    base: Files = field(default_factory=dict)
    """What lies there at the beginning of each call."""

    async def run_tests(self, files: Files, test_file: str) -> Outcome:
        """See `Workbench.run_tests`."""
        self._lay(files)
        return await run_tests(self.sandbox, test_file, self._bounds)

    async def run(self, files: Files, argv: Sequence[str]) -> ExecResult:
        """See `Workbench.run`."""
        self._lay(files)
        return await self.sandbox.exec(argv, limits=self._bounds, env={"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"})

    @property
    def _bounds(self) -> Limits:
        return replace(self.limits, wall_seconds=self.seconds)

    def _lay(self, files: Files) -> None:
        root = self.sandbox.workspace
        for old in sorted(root.rglob("*"), reverse=True):
            if old.relative_to(root).parts[0] == ".git":
                continue
            if old.is_dir() and not old.is_symlink():
                _remove_if_empty(old)
            else:
                old.unlink()
        for path, text in {**self.base, **files}.items():
            if text is not None:
                place = root / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # the sandbox keeps something in it
