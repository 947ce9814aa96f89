"""Going on with a run that exists: find its code again by what it recorded, change it if asked, and watch it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from treadle.cli import agents, build, graphs, output, session
from treadle.errors import Conflict, UsageError

if TYPE_CHECKING:
    from treadle.app import Application
    from treadle.domain.task import RunRow
    from treadle.engine.orchestrator import Orchestrator
    from treadle.settings import Settings


@dataclass(frozen=True, slots=True)
class How:
    """Options that the commands share."""

    graph: str | None
    json: bool
    verbose: bool
    detach: bool
    store: str | None


@dataclass(frozen=True, slots=True)
class Given:
    """A run, in an application that has its code."""

    application: Application
    row: RunRow
    fork_id: str
    """The id of the run that a fork is to make."""

    @property
    def orchestrator(self) -> Orchestrator:
        return self.application.orchestrator

    async def raise_budget(self, kind: str, limit: float) -> None:
        await self.application.runs.set_budget(self.row, kind, limit)

    async def fork(self, event: int | None, changes: dict[str, Any]) -> str:
        return await self.application.fork(self.row, self.fork_id, event, changes)


async def go_on(run: str | None, how: How) -> int:
    """Resume a run, here or in the background."""
    settings, row = await _found(run, how)
    if row.status.ended:
        hint = f"Try it again: treadle retry {row.run_id}" if row.status.value == "error" else "Start a new one."
        raise Conflict(f"Run {row.run_id!r} {row.status.told}; there is nothing to resume.", hint=hint)
    if _is_of_a_program(row, how):
        raise UsageError(
            f"Thread {row.run_id!r} belongs to a program, which alone has its tools.",
            hint=f"Run it again there: pipeline.run({row.run_id!r}). To answer it: treadle answer {row.run_id} VALUE",
        )
    if how.detach:
        session.go_on_in_background(settings, row.run_id)
        output.data(row.run_id)
        return 0
    async with _with_code(settings, row, how) as application:
        await application.orchestrator.resume(row.run_id)
        return await _watch(application, row, how, after=row.last_seq)


async def change_and_go_on(
    run: str | None, change: Callable[[Given], Awaitable[str]], how: How, *, forking: bool = False
) -> int:
    """Apply a change from outside and, unless detached, go on with the run that it concerns."""
    from treadle.engine.orchestrator import new_run_id

    settings, row = await _found(run, how)
    fork_id = new_run_id()
    async with _with_code(settings, row, how, fork_id if forking else None) as application:
        known = row.last_seq
        run_id = await change(Given(application, row, fork_id))
        if how.detach or _is_of_a_program(row, how):
            output.data(run_id)
            if not how.detach:
                output.note("Its program goes on with it: at once if it lives, else when it runs the thread again.")
            return 0
        changed = await application.runs.find(run_id)
        if run_id != row.run_id:  # a fork: its past has been told
            known = changed.last_seq
        row = changed
        if not row.status.ended:
            await application.orchestrator.resume(run_id)
        return await _watch(application, row, how, after=known)


def _is_of_a_program(row: RunRow, how: How) -> bool:
    """Whether a run is a thread of a `Pipeline`, which no other process has the code of."""
    return row.labels.get("kind") == "thread" and how.graph is None


async def _found(run: str | None, how: How) -> tuple[Settings, RunRow]:
    async with session.looking(how.store) as application:
        return application.settings, await application.runs.find(run)


async def _watch(application: Application, row: RunRow, how: How, *, after: int) -> int:
    if row.labels.get("kind") == "build":
        return await build.finish(application, row, json=how.json, verbose=how.verbose, after=after)
    title = row.labels.get("target", row.graph)
    return await graphs.finish(application, row.run_id, json=how.json, verbose=how.verbose, title=title, after=after)


@asynccontextmanager
async def _with_code(
    settings: Settings, row: RunRow, how: How, fork_id: str | None = None
) -> AsyncIterator[Application]:
    """Connect with the code of a run: the graph it names, or the build that it recorded.

    A fork of a build has its own place for the result, and its own queue.
    """
    capacity = 0 if how.detach else 16
    if row.labels.get("kind") == "build":
        from treadle.services.builds import plan_of

        async with session.building(settings, plan_of(row), fork_id or row.run_id, capacity=capacity) as application:
            if fork_id is None:
                await application.builds.take_up(row)
            yield application
        return
    if _is_of_a_program(row, how):
        async with session.working(settings, capacity=0) as application:
            yield application
        return
    target = how.graph or row.labels.get("target")
    if row.labels.get("kind") == "plan":
        raise UsageError(
            f"Run {row.run_id!r} only plans; there is nothing to go on with.", hint="Plan again: treadle plan GOAL."
        )
    if target is None:
        raise UsageError(
            f"Run {row.run_id!r} was started by a program and did not record where its graph is.",
            hint="Name it: --graph pkg.module:graph; or resume it in that program.",
        )
    model, provider = row.labels.get("model"), row.labels.get("provider")
    async with (
        agents.code_of(target, settings, model=model, provider=provider) as (graph, registry),
        session.working(settings, registry=registry, capacity=capacity) as application,
    ):
        application.orchestrator.add_graph(graph)
        yield application
