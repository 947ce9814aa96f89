"""Builds: a request is checked as a whole before anything is made, recorded with its run, and made again from there."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import os
import re
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import msgspec

from treadle.agents.relevance import is_test
from treadle.domain.plan import Plan
from treadle.domain.task import RunRow
from treadle.engine.orchestrator import Orchestrator, new_run_id
from treadle.engine.results import RunOptions
from treadle.errors import ConfigError, Conflict, NotFound, UsageError
from treadle.graph.build import Graph
from treadle.models.choose import Choice, Decision, decide, recorded
from treadle.models.files import verify
from treadle.models.files.catalog import ModelFile, locate
from treadle.ports.sandbox import Sandbox
from treadle.services.guests import Guest, model_queue, placed_graph, queue_of
from treadle.services.prompts import load_prompts
from treadle.services.runs import BUILD
from treadle.services.tiers import PlannedModel, PlannedTier, budgets_of, planned_tiers, refuse_unknown_prices
from treadle.settings import Review, Settings
from treadle.workflows import Crew
from treadle.workspace import git_program, numbered, open_repository, refuse_unusable_out

_PLAN = "plan"
_MAX_SLUG_WORDS = 4
_FILLER = frozenset(["a", "an", "and", "the", "that", "with", "for", "of", "to", "in", "on"])


Approval = Literal["plan", "merge"]
APPROVALS: tuple[Approval, ...] = get_args(Approval)


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What the user asked for. At most one of `out` and `repo` is given."""

    goal: str
    folder: Path
    """Where the user is."""
    out: Path | None = None
    repo: Path | None = None
    check: str = ""
    script: Path | None = None
    """A scripted model instead of a real one, for rehearsals."""
    elsewhere: bool = False
    """Run nothing here that a worker on another machine can."""
    approve: tuple[Approval, ...] = ()
    """What the user wants to agree to before it happens."""


@dataclass(frozen=True, slots=True)
class RepositoryAt:
    """An existing repository as it was when the build began."""

    folder: str
    commit: str
    tree: str
    branch: str
    uncommitted: int


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A checked request with everything decided. Recorded with the run, so that any process can go on with it."""

    goal: str
    out: str
    """Folder of the repository that is to be made; empty when working on a branch."""
    repository: RepositoryAt | None
    check: str
    provider: str
    model: str
    model_reason: str
    sandbox: str
    budget_tokens: int
    max_rounds: int
    script: str = ""
    may_move: bool = False
    """Whether `out` is a name of our own choice, so that another will do if it is taken in the end."""
    elsewhere: bool = False
    home: str = ""
    """Id of the `.treadle` folder that the build belongs to; empty if no other machine reaches its store."""
    host: str = ""
    """Where that folder is, for people."""
    budget_money: float | None = None
    """USD; None: no limit."""
    budget_seconds: float | None = None
    """Of models answering, in all; None: no limit."""
    tiers: tuple[PlannedTier, ...] = ()
    """Where the build may climb, the tier that it begins in included. Empty: the one model above, without a tier."""
    review: Review = "auto"
    approve: tuple[Approval, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    """Whom sandboxed commands may reach; none: there is no network."""

    @property
    def budgets(self) -> dict[str, float]:
        """The limits of the run, by kind."""
        limits = {"tokens": self.budget_tokens, "money": self.budget_money, "seconds": self.budget_seconds}
        return {kind: float(limit) for kind, limit in limits.items() if limit is not None}

    @property
    def place(self) -> str:
        return self.repository.folder if self.repository else self.out

    @property
    def queue(self) -> str:
        """Where the nodes wait first that any machine may run; empty if there is only one machine."""
        return self.queue_of_tier(self.all_tiers[0])

    @property
    def all_tiers(self) -> tuple[PlannedTier, ...]:
        """The tiers, or the one model as a tier without a name."""
        return self.tiers or (PlannedTier("", (PlannedModel(self.provider, self.model),)),)

    def queue_of_tier(self, tier: PlannedTier) -> str:
        """Where nodes wait for whoever has the first model of a tier; empty if there is only one machine."""
        return model_queue(tier.models[0].provider, tier.models[0].model) if self.home else ""

    def queues(self, run_id: str) -> tuple[str, ...]:
        """Where the process that the build was started in, or resumed in, takes tasks from."""
        of_tiers = () if self.elsewhere or not self.home else map(self.queue_of_tier, self.all_tiers)
        return (queue_of(run_id), *dict.fromkeys(of_tiers))


class CrewMaker(Protocol):
    """Puts the adapters of builds together; given by the composition root."""

    shared: bool
    """Whether other machines reach the store, so that files of runs have to travel through it."""

    async def make(self, plan: BuildPlan, run_id: str) -> Crew: ...

    async def close(self, crew: Crew) -> None:
        """Let go of a crew whose run has ended."""

    async def open_sandbox(self, folder: Path, backend: str, hosts: Sequence[str]) -> Sandbox: ...

    def home(self) -> str:
        """The id of this project's `.treadle` folder; empty if no other machine reaches the store."""

    def is_home_of(self, plan: BuildPlan) -> bool:
        """Whether the result of a build is to be handed over from here."""


class Builds:
    """Checks, starts and takes up builds, and helps with those of other machines."""

    def __init__(self, settings: Settings, orchestrator: Orchestrator, crews: CrewMaker) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._maker = crews
        self._crews: dict[str, Crew] = {}
        self._making = asyncio.Lock()

    async def check(self, request: BuildRequest) -> BuildPlan:
        """Check a request completely and decide what it leaves open. Fetches nothing, and makes nothing but `.treadle`.

        Raises:
            UsageError: The goal is empty, or the place cannot take the result.
            UnknownName, ConfigError, ModelUnavailable: As `models.choose.choose`.
            SandboxUnavailable: No sandbox works here, or not the one that is asked for.
        """
        if request.elsewhere and not self._maker.shared:
            raise UsageError(
                "--elsewhere needs a store that other machines reach; nothing was built.",
                hint="Use --store postgresql://...",
            )
        goal = " ".join(request.goal.split()) if "\n" not in request.goal.strip() else request.goal.strip()
        if not goal:
            raise UsageError("The goal is empty; nothing was built.", hint='Say what to build: treadle build "GOAL".')
        out, repository = await _place(request, goal)
        load_prompts(self._settings)  # a mistake in a prompt of the user's is told before anything begins
        decision = await self._decide(request.script)
        choice, tiers = self._choice(request.script, decision), self._tiers(decision)
        budgets = budgets_of(decision.inventory if decision else None, self._settings)
        if "money" in budgets:
            refuse_unknown_prices(tiers, self._settings)
        return BuildPlan(
            goal=goal,
            out=str(out or ""),
            repository=repository,
            check=request.check.strip(),
            provider=choice.provider,
            model=choice.model,
            model_reason=choice.reason,
            sandbox=await self._working_sandbox(),
            elsewhere=request.elsewhere,
            home=self._maker.home(),
            host=f"{self._settings.project} on {socket.gethostname()}",
            budget_tokens=int(budgets["tokens"]),
            budget_money=budgets.get("money"),
            budget_seconds=budgets.get("seconds"),
            tiers=tiers,
            review=self._settings.build.review,
            approve=request.approve,
            allow_hosts=self._settings.sandbox.allow_hosts,
            max_rounds=self._settings.build.max_rounds,
            script=str(request.script.absolute()) if request.script else "",
            may_move=request.out is None and repository is None,
        )

    async def _decide(self, script: Path | None) -> Decision | None:
        """Decide which models may answer; None where a script does."""
        if script is None:
            return await decide(self._settings)
        if not script.is_file():
            raise UsageError(f"There is no script {str(script)!r}; nothing was started.")
        return None

    def _choice(self, script: Path | None, decision: Decision | None) -> Choice:
        if decision is None:
            return Choice("scripted", "scripted", f"because --provider names the script {script}")
        return decision.choice

    def _tiers(self, decision: Decision | None) -> tuple[PlannedTier, ...]:
        return planned_tiers(decision) if decision is not None else ()

    async def guest(self, script: Path | None = None) -> Guest:
        """Find out what this machine brings to builds of others: the model that it would build with, and a sandbox.

        Raises:
            UsageError: No other machine reaches the store.
            ModelUnavailable: The model is not here. Nothing was fetched.
            ConfigError: As `check`; or there is no git, no pytest to run tests with, or no folder that can be written.
            ModelFileCorrupt, UnknownName, SandboxUnavailable: As `check`.
        """
        if not self._maker.shared:
            raise UsageError(
                "A worker for builds needs a store that other machines reach; it was not started.",
                hint="Use --store postgresql://...; for graphs and nodes of your own, give --import pkg.module.",
            )
        git_program()
        self._maker.home()  # a folder that cannot be written is no place to work in
        if importlib.util.find_spec("pytest") is None:
            raise ConfigError(
                "This Python has no pytest, which runs the tests of what is built; the worker was not started.",
                hint="Run: pip install pytest, into the environment that runs treadle.",
            )
        choice = self._choice(script, await self._decide(script))
        if choice.provider == "embedded":
            await verify.check(locate(choice.served_as, self._settings.model))
        return Guest(choice, await self._working_sandbox(), str(script.absolute()) if script else "")

    async def _working_sandbox(self) -> str:
        """Name the backend that works here, by trying it."""
        with tempfile.TemporaryDirectory(prefix="treadle-check-") as folder:
            chosen = self._settings.sandbox
            sandbox = await self._maker.open_sandbox(Path(folder), chosen.backend, chosen.allow_hosts)
            await sandbox.close()
            return sandbox.name

    def model_files(self, plan: BuildPlan) -> list[ModelFile]:
        """The files of the embedded models that come first in a tier. Raises as `models.catalog.locate`."""
        if plan.elsewhere:
            return []
        first = [tier.models[0] for tier in plan.all_tiers if tier.models[0].provider == "embedded"]
        entries = [recorded(self._settings, planned.provider, planned.model)[1] for planned in first]
        return [locate(entry.served_as, self._settings.model) for entry in entries]

    async def is_missing(self, model: ModelFile) -> bool:
        """Whether a model file has to be fetched. Raises ModelFileCorrupt if it is here, and is not what was pinned."""
        if model.is_present:
            await verify.check(model)
        return not model.is_present

    async def start(
        self, plan: BuildPlan, run_id: str, tasks: Plan | None = None, *, labels: Mapping[str, str] | None = None
    ) -> None:
        """Start the run of a build; the plan is recorded with it. `tasks`: how the goal was taken apart already."""
        await self._prepare(plan, run_id)
        start: dict[str, Any] = {"goal": plan.goal, "check": plan.check, "queue": plan.queue}
        start |= {"plan": tasks.plain()} if tasks is not None else {}
        start |= {"approve": list(plan.approve)} if plan.approve else {}
        await self._orchestrator.start(self._graph(), start, options=_options(plan, run_id, labels or {}))

    async def take_up(self, row: RunRow) -> BuildPlan:
        """Make the graph of a recorded build known, so that its tasks can run here.

        Raises:
            NotFound: It is no build.
            Conflict: It was started in another folder, where its result has to be handed over.
        """
        plan = plan_of(row)
        self._refuse_guests(plan, row.run_id)
        await self._prepare(plan, row.run_id)
        self._orchestrator.add_graph(self._graph())
        return plan

    def help_others(self) -> None:
        """Let this process run nodes of builds that were started elsewhere."""
        self._orchestrator.add_graph(self._graph())

    async def unserved(self, plan: BuildPlan) -> list[PlannedTier]:
        """The tiers whose nodes any machine may run, and no living worker takes."""
        served = {queue for worker in await self._orchestrator.store.workers() for queue in worker.queues}
        return [tier for tier in plan.all_tiers if plan.queue_of_tier(tier) not in served]

    async def fork(self, row: RunRow, fork_id: str, event: int | None, changes: Mapping[str, Any]) -> str:
        """Start a build that shares the past of another, with a place of its own for the result."""
        plan = plan_of(row)
        self._refuse_guests(plan, row.run_id)
        if plan.out:
            plan = dataclasses.replace(plan, out=str(_free(Path(plan.out))))
        await self._prepare(plan, fork_id)
        self._orchestrator.add_graph(self._graph())
        options = _options(plan, fork_id, {"fork_of": row.run_id})
        return await self._orchestrator.fork(row.run_id, event, changes, options=options)

    def _graph(self) -> Graph:
        return placed_graph(self._crew, shared=self._maker.shared)

    def _refuse_guests(self, plan: BuildPlan, run_id: str) -> None:
        if not self._maker.is_home_of(plan):
            raise Conflict(
                f"Build {run_id!r} was started in {plan.host}, and its result is handed over there; nothing was done.",
                hint="Go on with it there; `treadle worker` here takes what any machine may do.",
            )

    async def _crew(self, run_id: str) -> Crew:
        """The crew of a run, made when it is first asked for. Those of runs that have ended are let go of then."""
        known = self._crews.get(run_id)
        if known is not None:
            return known
        for other in [*self._crews]:
            if await self._has_ended(other):
                await self._let_go(other)
        return await self._prepare(plan_of(await self._orchestrator.store.run(run_id)), run_id)

    async def _prepare(self, plan: BuildPlan, run_id: str) -> Crew:
        async with self._making:
            if run_id not in self._crews:
                self._crews[run_id] = await self._maker.make(plan, run_id)
            return self._crews[run_id]

    async def _has_ended(self, run_id: str) -> bool:
        try:
            return (await self._orchestrator.store.run(run_id)).status.ended
        except NotFound:
            return True

    async def _let_go(self, run_id: str) -> None:
        crew = self._crews.pop(run_id, None)
        if crew is not None:
            await self._maker.close(crew)

    async def close(self) -> None:
        """Let go of all crews; for when nothing runs here any more. Idempotent."""
        for run_id in [*self._crews]:
            await self._let_go(run_id)


def plan_of(row: RunRow) -> BuildPlan:
    """Read what was recorded with a build.

    Raises:
        NotFound: The run is no build.
        Conflict: It was recorded by a version of Treadle that is not compatible.
    """
    if row.labels.get("kind") != BUILD:
        raise NotFound(f"Run {row.run_id!r} is no build.")
    try:
        return msgspec.json.decode(row.labels[_PLAN], type=BuildPlan)
    except (KeyError, msgspec.ValidationError) as error:
        raise Conflict(f"Run {row.run_id!r} was started by another version of Treadle ({error}).") from error


def slug(goal: str) -> str:
    """A folder's name out of a goal."""
    words = [word for word in re.findall(r"[a-z0-9]+", goal.lower()) if word not in _FILLER]
    return "-".join(words[:_MAX_SLUG_WORDS])[:40].strip("-") or "build"


def _options(plan: BuildPlan, run_id: str, labels: Mapping[str, str]) -> RunOptions:
    recorded = {"kind": BUILD, "goal": plan.goal, _PLAN: msgspec.json.encode(plan).decode(), **labels}
    return RunOptions(run_id=run_id, labels=recorded, budgets=plan.budgets)


async def _place(request: BuildRequest, goal: str) -> tuple[Path | None, RepositoryAt | None]:
    if request.out is not None and request.repo is not None:
        raise UsageError(
            "--out and --repo are both given; nothing was built.",
            hint="--out makes a new repository, --repo works on a branch of an existing one.",
        )
    repo = request.repo or (None if request.out else enclosing_repository(request.folder))
    if repo is None:
        out = request.folder / request.out if request.out else _free(request.folder / slug(goal))
        refuse_unusable_out(out)
        _try_to_write(out)
        return out.absolute(), None
    found = await open_repository(request.folder / repo)
    if not request.check.strip() and not any(is_test(p) or p.endswith(".py") for p in await found.files()):
        raise UsageError(
            f"{found.folder} has no tests, and there is no --check: nothing could show that the goal is met.",
            hint="Give --check CMD, a command that fails now and should pass then; or --out DIR for something new.",
        )
    at = RepositoryAt(str(found.folder), found.commit, found.tree, found.branch, found.uncommitted)
    return None, at


def _try_to_write(out: Path) -> None:
    """Make a folder where the result will lie, and remove it again: permission bits do not tell everything."""
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    try:
        Path(tempfile.mkdtemp(dir=parent, prefix=".treadle-check-")).rmdir()
    except OSError as error:
        raise UsageError(
            f"{parent} cannot be written ({error.strerror}), so no repository can be made at {out}.",
            hint="Choose another --out.",
        ) from error


def enclosing_repository(folder: Path) -> Path | None:
    """The repository that a folder lies in; None if it lies in none."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def _free(place: Path) -> Path:
    """The place itself if nothing is there, else the first `place-N` that is free."""
    return next(free for free in numbered(place) if not os.path.lexists(free))


__all__ = ["BuildPlan", "BuildRequest", "Builds", "new_run_id", "plan_of"]
