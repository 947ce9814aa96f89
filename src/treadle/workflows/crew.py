"""Who and what a build works with. Made by the composition root; the nodes see nothing else of the outside."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from treadle.agents.ask import Asker
from treadle.agents.brief import Brief
from treadle.agents.coverage import measure
from treadle.agents.estimator import TierChoice
from treadle.agents.local_search import Found, local_search
from treadle.agents.prompt import Prompts
from treadle.agents.suite import Suite, run_suite
from treadle.agents.trial import Outcome, run_command, run_tests
from treadle.ports.context import NodeContext
from treadle.ports.model import Model, Pricing, free
from treadle.ports.sandbox import Limits, Sandbox
from treadle.workspace import Publisher, Workspace

_SEARCH_SECONDS = 10.0
"""Near one version: enough for all single edits of a page of code; on a processor, an answer takes as long."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How hard a build tries."""

    max_rounds: int = 10
    """Times that a failure is reflected on in one tier, before the build climbs or stops."""
    seed: int = 0
    temperature: float = 0.0
    """Of the first version of code and tests. Later ones are always sampled warmer, to differ."""
    test_seconds: float = 20.0
    check_seconds: float = 120.0
    limits: Limits = field(default_factory=Limits)
    """Of every command in the sandbox, but for the seconds, which are those above."""
    tests: bool = True
    """Whether the model writes tests, beside the examples of the goal."""
    review: Literal["auto", "always", "never"] = "auto"
    """Whether a model takes part in reviews: see `agents.reviewer.ReviewPolicy`."""


@dataclass(frozen=True, slots=True)
class CrewTier:
    """Who answers as long as a build is in one tier."""

    model: Model
    model_name: str
    """What requests name: the first model of the tier. A reply says which one answered."""
    name: str = ""
    """`tiny`, `small`, ...; empty where there are no tiers."""
    pricing: Pricing | None = free
    """Of its dearest model; None: not known."""
    queue: str = ""
    """Where nodes wait for any machine that has its model."""
    sees: bool = False
    """Whether its first model can look at pictures."""


@dataclass(frozen=True, slots=True)
class Crew:
    """The models of a build, a sandbox over the workspace's folder, and where the result goes."""

    tiers: tuple[CrewTier, ...]
    """At least one. A build begins in the first, and climbs when its checks keep failing."""
    sandbox: Sandbox
    workspace: Workspace
    publisher: Publisher
    prompts: Prompts = field(default_factory=Prompts.load)
    settings: BuildSettings = field(default_factory=BuildSettings)
    choice: TierChoice = field(default_factory=TierChoice)
    """The tiers that tasks may begin in, and what past tasks took."""
    open_sandbox: Callable[[Path], Awaitable[Sandbox]] | None = None
    """Opens a sandbox over another folder, for tasks side by side. None: all tasks share the one, one after another."""
    rooms: Rooms = field(default_factory=lambda: Rooms())

    async def of_task(self, task: str) -> Crew:
        """The same crew in a folder and a sandbox that are the task's own; the same each time it is asked for."""
        if self.open_sandbox is None:
            return self
        return await self.rooms.of(task, self)

    async def run_tests(self, file: str) -> Outcome:
        """Run one pytest file of the workspace: see `agents.trial.run_tests`."""
        limits = replace(self.settings.limits, wall_seconds=self.settings.test_seconds)
        return await run_tests(self.sandbox, file, limits)

    async def coverage(self, brief: Brief) -> float | None:
        """Tell how much of a file its tests run: see `agents.coverage.measure`."""
        limits = replace(self.settings.limits, wall_seconds=2 * self.settings.test_seconds)
        return await measure(self.sandbox, brief.test_file, brief.file, limits)

    async def local_search(self, file: str, source: str, tests: Sequence[str], *, within: Sequence[str] = ()) -> Found:
        """Search near a version of a file of the workspace: see `agents.local_search`."""
        seconds, limits = min(self.settings.test_seconds, _SEARCH_SECONDS), self.settings.limits
        return await local_search(self.sandbox, file, source, tests, limits, seconds=seconds, within=within)

    async def run_command(self, command: str, *, seconds: float = 0.0) -> dict[str, Any]:
        """Run a command of the user's in the workspace: see `agents.trial.run_command`."""
        most = self.settings.check_seconds
        limits = replace(self.settings.limits, wall_seconds=min(seconds or most, most))
        return await run_command(self.sandbox, command, limits)

    async def run_suite(self, *, python_path: str = "", only: str = "", seconds: float = 0.0) -> Suite:
        """Run the tests of the repository in the workspace: see `agents.suite.run_suite`."""
        limits = replace(self.settings.limits, wall_seconds=seconds or self.settings.check_seconds)
        return await run_suite(self.sandbox, limits, python_path=python_path, only=only)

    def asker(self, ctx: NodeContext, state: WorkState) -> Asker:
        """Ask the model of the build's tier on behalf of a node. What it says is shown as it comes, where possible."""
        tier = self.tiers[state.get("tier", 0)]
        return Asker(ctx, tier.model, tier.model_name, tier.pricing, on_delta=getattr(ctx, "emit_token", None))


class Rooms:
    """Where the tasks of a build work: each in a folder of its own, so that they can work at the same time."""

    def __init__(self) -> None:
        self._crews: dict[str, Crew] = {}
        self._opening = asyncio.Lock()

    async def of(self, task: str, crew: Crew) -> Crew:
        """The crew in the room of a task, opened if it is not."""
        async with self._opening:
            if task not in self._crews:
                assert crew.open_sandbox is not None
                workspace = await crew.workspace.of_task(task)
                sandbox = await crew.open_sandbox(workspace.folder)
                self._crews[task] = replace(crew, workspace=workspace, sandbox=sandbox)
            return self._crews[task]

    async def close(self, tasks: Iterable[str] | None = None) -> None:
        """Give up rooms, or all of them: sandboxes end and folders go. What matters is in snapshots. Idempotent."""
        for task in [*self._crews] if tasks is None else tasks:
            crew = self._crews.pop(task, None)
            if crew is not None:
                await crew.sandbox.close()
                await crew.workspace.remove()


Number = TypeVar("Number", int, float)


def add(before: Number, more: Number) -> Number:
    """Count together: the reducer of `tokens` and `cost`."""
    return before + more


def union(before: list[str], more: list[str]) -> list[str]:
    """Names of both, each once: the reducer of `models`."""
    return sorted({*before, *more})


def first(before: str, more: str) -> str:
    """What was said first: the reducer of `check`, which the user gives, or a task finds out."""
    return before or more


class BuildState(TypedDict, total=False):
    """What a build knows, in plain values. Start it with `goal` and, if there are any, `check`, `queue` and `plan`."""

    goal: str
    check: Annotated[str, first]
    given: str
    """The check that the user gave; `check` may be one that a task found out."""
    queue: str
    """Where the nodes that any machine may run wait for one; empty: all wait at home."""
    approve: list[str]
    """What the user wants to agree to before it happens: `plan`, `merge`."""
    analysis: dict[str, Any]
    """A `domain.plan.Analysis`."""
    plan: dict[str, Any]
    """A `domain.plan.Plan`."""
    head: dict[str, Any]
    """What has been merged so far: `tree`, and `commit` where there is one."""
    outcomes: Annotated[list[dict[str, Any]], operator.add]
    """What became of each try of a task, see `workflows.task.outcome`."""
    seen: int
    """How many outcomes have been looked at."""
    taken: list[str]
    """Ids of tasks that are in `head`."""
    left: dict[str, str]
    """Ids of tasks whose work could not be merged with the rest, and why."""
    tokens: Annotated[int, add]
    cost: Annotated[float, add]
    """USD, as far as prices are known."""
    models: Annotated[list[str], union]
    verdict: dict[str, Any]
    """What to do next with the whole, and about what."""
    report: dict[str, Any]


class WorkState(TypedDict, total=False):
    """What the work on one task knows, in plain values."""

    goal: str
    """What the task is to do, in words."""
    task: dict[str, Any]
    """A `domain.plan.PlannedTask`."""
    alone: bool
    """Whether it is the only task of its plan, so that what holds for the whole holds for it."""
    check: Annotated[str, first]
    queue: str
    work_queue: str
    """As `queue`, after a climb to a tier whose models are elsewhere."""
    beside: dict[str, str]
    """What Python files that were there before offer, by path."""
    brief: dict[str, Any]
    base: str
    """The files that it starts from."""
    tree: str
    """The files as they stand; every node that touches files restores it first."""
    candidates: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    """Tests in force."""
    coverage: float | None
    """The share of the file's lines that its tests run; None where that is not known."""
    dropped: list[dict[str, str]]
    """Tests that were given up, each with the reason."""
    round: int
    attempts: int
    """Candidates and test sets asked for so far; makes each question another one."""
    move: dict[str, Any]
    """What to do next, and about what."""
    tier: int
    """Which of the crew's tiers answers now."""
    tier_began: int
    """The round in which it took over."""
    proved: int
    """Which candidate was proved last."""
    review: dict[str, Any]
    began: dict[str, Any]
    """Tokens and cost of the build when the task began."""
    tokens: Annotated[int, add]
    cost: Annotated[float, add]
    """USD, as far as prices are known."""
    models: Annotated[list[str], union]
    prompts: Annotated[list[str], union]
    """From which questions were made, see `agents.prompt.Prompt.label`."""
    outcomes: Annotated[list[dict[str, Any]], operator.add]


def spent(asker: Asker) -> dict[str, Any]:
    """What asking took in a node, who answered, and what the questions were made from."""
    amounts = {"tokens": asker.tokens, "cost": asker.cost}
    return amounts | {"models": sorted(asker.models), "prompts": sorted(asker.prompts)}
