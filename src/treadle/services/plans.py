"""Planning as a service: a goal becomes a plan, on the same engine and with the same models as a build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from treadle.agents.goal_parts import read_parts
from treadle.agents.language import language_of
from treadle.agents.relevance import is_test
from treadle.domain.plan import Plan
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import Result, RunOptions
from treadle.errors import ConfigError, Problem, UsageError
from treadle.models.choose import Decision, decide
from treadle.services.builds import BuildPlan, enclosing_repository
from treadle.services.plan_file import PlanFile
from treadle.services.prompts import load_prompts
from treadle.services.tiers import budgets_of, planned_tiers
from treadle.settings import Settings
from treadle.workflows.decompose import Planner, decompose_graph
from treadle.workspace import open_repository

PLAN = "plan"
"""The `kind` among the labels of a run that only plans."""
_UNPROVED = "How can one see that it is done? The repository has no tests: give --check, a command that fails now."


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is to be planned, and where."""

    goal: str
    folder: Path
    repo: Path | None = None
    check: str = ""
    script: Path | None = None
    """A scripted model, instead of a real one."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked request: who would plan, and what there is."""

    request: PlanRequest
    goal: str
    build: BuildPlan
    """The build that it would become, as far as planning needs it."""
    repo: str = ""
    """The repository that would be changed; empty: something new is wanted."""
    files: tuple[str, ...] = ()
    """What is in it."""
    questions: tuple[str, ...] = ()
    """What the repository leaves open."""

    @property
    def may_ask(self) -> bool:
        """Whether a model may be asked: small goals in English never are."""
        parts = read_parts(self.goal, is_change=bool(self.files))
        return language_of(self.goal) != "en" or parts.size != "one"


def refuse_foreign_tiers(plan: Plan, build: BuildPlan) -> None:
    """Raise ConfigError if tasks are to begin in tiers that the build does not have; nothing was started."""
    names = [tier.name for tier in build.all_tiers if tier.name]
    problems = [
        Problem(
            f"Task {task.id!r} begins in tier {task.tier!r}, which this build does not have.",
            f"It has: {', '.join(names)}." if names else "It has one model and no tiers: leave `tier` out.",
        )
        for task in plan.tasks
        if task.tier and task.tier not in names
    ]
    if problems:
        raise ConfigError.of(problems)


class PlannerMaker(Protocol):
    """Puts planners together; given by the composition root."""

    async def planner(self, build: BuildPlan, files: Sequence[str]) -> Planner: ...


class Plans:
    """Makes plans."""

    def __init__(self, settings: Settings, orchestrator: Orchestrator, maker: PlannerMaker) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._maker = maker

    async def check(self, request: PlanRequest) -> Prepared:
        """Check a request completely, and find out who would plan. Asks no model, and makes nothing.

        Raises:
            UsageError: The goal is empty, or `repo` is no repository.
            UnknownName, ConfigError, ModelUnavailable: As `models.choose.choose`.
        """
        text = request.goal.strip()
        goal = text if "\n" in text else " ".join(text.split())
        if not goal:
            raise UsageError("The goal is empty; nothing was planned.", hint='Say what to build: treadle plan "GOAL".')
        load_prompts(self._settings)
        repo, files, questions = await self._repository(request)
        decision = None
        if request.script is None:
            decision = await decide(self._settings)
        elif not request.script.is_file():
            raise UsageError(f"There is no script {str(request.script)!r}; nothing was planned.")
        return Prepared(request, goal, self._build(request, goal, decision), repo, files, questions)

    async def _repository(self, request: PlanRequest) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        repo = request.repo or enclosing_repository(request.folder)
        if repo is None:
            return "", (), ()
        found = await open_repository(request.folder / repo)
        files = tuple(await found.files())
        is_proved = bool(request.check.strip()) or any(is_test(path) for path in files)
        return str(found.folder), files, () if is_proved else (_UNPROVED,)

    def _build(self, request: PlanRequest, goal: str, decision: Decision | None) -> BuildPlan:
        budgets = budgets_of(decision.inventory if decision else None, self._settings)
        choice = decision.choice if decision else None
        return BuildPlan(
            goal=goal,
            out="",
            repository=None,
            check=request.check.strip(),
            provider=choice.provider if choice else "scripted",
            model=choice.model if choice else "scripted",
            model_reason=choice.reason if choice else f"because --provider names the script {request.script}",
            sandbox="",
            budget_tokens=int(budgets["tokens"]),
            budget_money=budgets.get("money"),
            budget_seconds=budgets.get("seconds"),
            max_rounds=self._settings.build.max_rounds,
            tiers=planned_tiers(decision) if decision else (),
            script=str(request.script.absolute()) if request.script else "",
        )

    async def start(self, prepared: Prepared, run_id: str) -> None:
        """Start the run that plans. What it asks models, and what it assumes, is in its log."""
        planner = await self._maker.planner(prepared.build, prepared.files)
        labels = {"kind": PLAN, "goal": prepared.goal}
        options = RunOptions(run_id=run_id, labels=labels, budgets=prepared.build.budgets)
        start = {"goal": prepared.goal, "check": prepared.build.check}
        await self._orchestrator.start(decompose_graph(planner), start, options=options)

    def finished(self, prepared: Prepared, result: Result) -> PlanFile:
        """The plan that a run ended with, and how it would be built."""
        plan = Plan.of(result.to_dict()["plan"])
        plan = replace(plan, questions=(*plan.questions, *prepared.questions))
        script = prepared.request.script
        return PlanFile(
            plan,
            check=prepared.build.check,
            repo=prepared.repo,
            model=self._flag("model"),
            provider=f"scripted:{script}" if script is not None else self._flag("provider"),
            tier=self._flag("tier"),
        )

    def _flag(self, key: str) -> str:
        """What a flag says of the model: a build of the plan is to go by it, too."""
        is_given = self._settings.origins.get(f"model.{key}", "").startswith("the flag")
        return str(getattr(self._settings.model, key)) if is_given else ""
