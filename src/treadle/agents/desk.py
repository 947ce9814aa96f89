"""What a specialist works with, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec

from treadle.agents.ask import Asker
from treadle.agents.prompt import Prompts
from treadle.agents.review_rules import is_allowed
from treadle.agents.testcases import Case
from treadle.agents.trial import Outcome
from treadle.agents.workbench import Files, Workbench
from treadle.domain.messages import Image
from treadle.ports.context import NodeContext
from treadle.ports.sandbox import ExecResult

PATIENCE = 3
"""Versions in a row that bring nothing, after which no more are asked for."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One node's means for one task. Everything that is done with it is journaled."""

    ctx: NodeContext
    asker: Asker
    prompts: Prompts
    bench: Workbench
    goal: str
    """Of the build, in the user's words."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The text files of the tree that the task begins from, by path."""
    images: Mapping[str, Image] = field(default_factory=dict)
    """The pictures among its files, by path."""
    sees: bool = False
    """Whether the model can look at pictures."""
    problem: str = ""
    """Why an earlier version was sent back, by a check or a review; empty at first."""
    rounds: int = 3
    seed: int = 0
    temperature: float = 0.0
    tests: bool = True
    """Whether the model writes tests, beside those by rule."""

    @property
    def sent_back(self) -> str:
        """The problem as a prompt tells it."""
        return f"An earlier version was sent back:\n\n{self.problem}" if self.problem else ""

    async def run_tests(self, key: str, files: Files, test_file: str) -> Outcome:
        """Run one pytest file on files laid over the tree, once per key."""

        async def run() -> dict[str, Any]:
            return (await self.bench.run_tests(files, test_file)).as_dict()

        request = {"tool": "run_tests", "file": test_file, "files": dict(files)}
        return Outcome.of(await self.ctx.step(key, run, kind="tool", request=request))

    async def run(self, key: str, files: Files, *argv: str) -> ExecResult:
        """Run one command on files laid over the tree, once per key."""

        async def run() -> dict[str, Any]:
            return asdict(await self.bench.run(files, argv))

        request = {"tool": "run", "argv": list(argv), "files": dict(files)}
        return msgspec.convert(await self.ctx.step(key, run, kind="tool", request=request), ExecResult)


def is_stuck(ranks: Sequence[Any], *, patience: int = PATIENCE) -> bool:
    """Tell whether the last `patience` versions brought nothing: none ranks above the best one before them."""
    return len(ranks) > patience and max(ranks[-patience:]) <= max(ranks[:-patience])


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a task."""

    files: Mapping[str, str]
    """To be written, by path: the work and its tests."""
    problem: str = ""
    """Why it is not done, in the words of what failed; empty if it is done."""
    tests: tuple[Case, ...] = ()
    """In force: they fail on a stub and pass on the work."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Tests that were given up, each with the reason."""
    checked: tuple[str, ...] = ()
    """What was looked at, one sentence each; what could not be looked at is said as well."""
    assumptions: tuple[str, ...] = ()

    def within(self, may_touch: Sequence[str]) -> tuple[Made, list[str]]:
        """The same without files that a task may not write (no paths: it may write any), and which those are."""
        left = sorted(path for path in self.files if not is_allowed(path, may_touch))
        kept = {path: text for path, text in self.files.items() if path not in left}
        nothing = f"Nothing was written but {', '.join(left)}, which is not of this task." if left and not kept else ""
        return replace(self, files=kept, problem=self.problem or nothing), left

    def as_dict(self) -> dict[str, Any]:
        """The same in plain values, for the state of a run."""
        return {
            "done": not self.problem,
            "problem": self.problem,
            "files": dict(self.files),
            "tests": [case.as_dict() for case in self.tests],
            "dropped": [{"name": name, "why": why} for name, why in self.dropped],
            "checked": list(self.checked),
            "assumptions": list(self.assumptions),
        }
