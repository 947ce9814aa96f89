"""Builds: a request is checked as a whole before anything is made, recorded with its run, and made again from there."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from treadle.agents.relevance import is_test
from treadle.domain.task import RunRow
from treadle.engine.orchestrator import Orchestrator, new_run_id
from treadle.engine.results import RunOptions
from treadle.errors import Conflict, NotFound, UsageError
from treadle.graph.build import Graph
from treadle.models import verify
from treadle.models.catalog import ModelFile, locate
from treadle.models.choose import Choice, choose
from treadle.ports.sandbox import Sandbox
from treadle.services.runs import BUILD
from treadle.settings import Settings
from treadle.workflows.build import build_graph
from treadle.workflows.crew import Crew
from treadle.workspace import numbered, open_repository, refuse_unusable_out

_PLAN = "plan"
_MAX_SLUG_WORDS = 4
_FILLER = frozenset(["a", "an", "and", "the", "that", "with", "for", "of", "to", "in", "on"])


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

    @property
    def place(self) -> str:
        return self.repository.folder if self.repository else self.out


class CrewMaker(Protocol):
    """Puts the adapters of a build together; given by the composition root."""

    async def __call__(self, plan: BuildPlan, run_id: str) -> Crew: ...


class Builds:
    """Checks, starts and takes up builds."""

    def __init__(
        self,
        settings: Settings,
        orchestrator: Orchestrator,
        make_crew: CrewMaker,
        open_sandbox: Callable[[Path, str], Awaitable[Sandbox]],
    ) -> None:
        self._settings = settings
        self._orchestrator = orchestrator
        self._make_crew = make_crew
        self._open_sandbox = open_sandbox

    async def check(self, request: BuildRequest) -> BuildPlan:
        """Check a request completely and decide what it leaves open. Makes nothing, fetches nothing.

        Raises:
            UsageError: The goal is empty, or the place cannot take the result.
            UnknownName, ConfigError, ModelUnavailable: As `models.choose.choose`.
            SandboxUnavailable: No sandbox works here, or not the one that is asked for.
        """
        goal = " ".join(request.goal.split()) if "\n" not in request.goal.strip() else request.goal.strip()
        if not goal:
            raise UsageError("The goal is empty; nothing was built.", hint='Say what to build: treadle build "GOAL".')
        out, repository = await _place(request, goal)
        choice = await self._choice(request)
        return BuildPlan(
            goal=goal,
            out=str(out or ""),
            repository=repository,
            check=request.check.strip(),
            provider=choice.provider,
            model=choice.model,
            model_reason=choice.reason,
            sandbox=await self._working_sandbox(),
            budget_tokens=self._settings.build.budget_tokens,
            max_rounds=self._settings.build.max_rounds,
            script=str(request.script.absolute()) if request.script else "",
            may_move=request.out is None and repository is None,
        )

    async def _choice(self, request: BuildRequest) -> Choice:
        if request.script is not None:
            if not request.script.is_file():
                raise UsageError(f"There is no script {str(request.script)!r}; nothing was built.")
            return Choice("scripted", "scripted", f"because --provider names the script {request.script}")
        return await choose(self._settings)

    async def _working_sandbox(self) -> str:
        """Name the backend that works here, by trying it."""
        with tempfile.TemporaryDirectory(prefix="treadle-check-") as folder:
            sandbox = await self._open_sandbox(Path(folder), self._settings.sandbox.backend)
            await sandbox.close()
            return sandbox.name

    async def missing_model(self, plan: BuildPlan) -> ModelFile | None:
        """The model file that has to be fetched first, if there is one.

        Raises:
            ModelFileCorrupt: The file is here, and is not what was pinned.
        """
        if plan.provider != "embedded":
            return None
        model = locate(plan.model, self._settings.model)
        if not model.is_present:
            return model
        await verify.check(model)
        return None

    async def start(self, plan: BuildPlan, run_id: str) -> None:
        """Start the run of a build; the plan is recorded with it."""
        await self._orchestrator.start(
            await self._graph(plan, run_id),
            {"goal": plan.goal, "check": plan.check},
            options=_options(plan, run_id, {}),
        )

    async def take_up(self, row: RunRow) -> BuildPlan:
        """Make the graph of a recorded build known, so that its tasks can run here. Raises NotFound: it is no build."""
        plan = plan_of(row)
        self._orchestrator.add_graph(await self._graph(plan, row.run_id))
        return plan

    async def fork(self, row: RunRow, fork_id: str, event: int | None, changes: Mapping[str, Any]) -> str:
        """Start a build that shares the past of another, with a place of its own for the result."""
        plan = plan_of(row)
        if plan.out:
            plan = dataclasses.replace(plan, out=str(_free(Path(plan.out))))
        self._orchestrator.add_graph(await self._graph(plan, fork_id))
        options = _options(plan, fork_id, {"fork_of": row.run_id})
        return await self._orchestrator.fork(row.run_id, event, changes, options=options)

    async def _graph(self, plan: BuildPlan, run_id: str) -> Graph:
        graph = build_graph(await self._make_crew(plan, run_id))
        for name, node in graph.nodes.items():
            # The crew is of this run alone, so no other process that builds may take its tasks.
            graph.nodes[name] = dataclasses.replace(node, queue=queue_of(run_id))
        return graph


def queue_of(run_id: str) -> str:
    """The queue for the tasks of one build."""
    return f"build:{run_id}"


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
    return RunOptions(run_id=run_id, labels=recorded, budgets={"tokens": float(plan.budget_tokens)})


async def _place(request: BuildRequest, goal: str) -> tuple[Path | None, RepositoryAt | None]:
    if request.out is not None and request.repo is not None:
        raise UsageError(
            "--out and --repo are both given; nothing was built.",
            hint="--out makes a new repository, --repo works on a branch of an existing one.",
        )
    repo = request.repo or (None if request.out else _enclosing_repository(request.folder))
    if repo is None:
        out = request.folder / request.out if request.out else _free(request.folder / slug(goal))
        refuse_unusable_out(out)
        _try_to_write(out)
        return out.absolute(), None
    found = await open_repository(request.folder / repo)
    if not request.check.strip() and not any(is_test(path) for path in await found.files()):
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


def _enclosing_repository(folder: Path) -> Path | None:
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def _free(place: Path) -> Path:
    """The place itself if nothing is there, else the first `place-N` that is free."""
    return next(free for free in numbered(place) if not os.path.lexists(free))


__all__ = ["BuildPlan", "BuildRequest", "Builds", "new_run_id", "plan_of", "queue_of"]
