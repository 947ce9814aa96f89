"""`treadle schedule <verb>`: runs that begin by the calendar."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from treadle.cli import agents, graphs, output, session
from treadle.cli.look import JSON, STORE
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.domain.schedule import ScheduleRow
    from treadle.engine.schedules import Schedules

NAME = typer.Argument(..., metavar="NAME", help="What the schedule is called.")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Runs that begin by the calendar.", no_args_is_help=True)
    group.command("add")(add)
    group.command("list")(list_schedules)
    for verb in (pause, resume):
        group.command(verb.__name__)(verb)
    group.command("rm")(remove)
    app.add_typer(group, name="schedule")


def add(
    name: str = NAME,
    cron: str = typer.Argument(
        ..., metavar="CRON", help="Minute, hour, day of month, month, day of week: '0 9 * * 1-5'."
    ),
    target: str = typer.Argument(..., metavar="TARGET", help="pkg.module:graph, or file.py:graph."),
    state: str | None = typer.Option(None, "--state", metavar="JSON", help="The first state of each run, or @file."),
    timezone: str = typer.Option("UTC", "--timezone", metavar="ZONE", help="Whose clocks count: Europe/Berlin."),
    overlap: str = typer.Option(
        "skip", "--overlap", metavar="HOW", help="While the run before is live: skip the tick, or queue one run."
    ),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """Begin a run of a graph at each tick, as long as a worker lives that has the graph.

    Ticks missed meanwhile are made up for by one run. Takes the place of a schedule of that name.
    """
    initial = graphs.parse_object(state, "--state")
    settings = session.settings_of(store=store)
    if settings.store.url.startswith("memory"):
        raise UsageError("A schedule needs a store that outlives this command; nothing was scheduled.")
    if overlap not in ("skip", "queue"):
        raise UsageError(f"There is no overlap {overlap!r}; nothing was scheduled.", hint="Use skip or queue.")

    async def work() -> None:
        async with (
            agents.code_of(target, settings) as (graph, registry),
            session.working(settings, registry=registry, capacity=0) as application,
        ):
            row = await application.orchestrator.schedules.add(
                name, cron, graph, initial, timezone=timezone, target=target,
                overlap="queue" if overlap == "queue" else "skip",
            )  # fmt: skip
        if json:
            output.data_json(row)
        output.note(f"First: {output.moment(row.next_at)}. Workers: treadle worker --import {target}")

    session.run(work)


def list_schedules(json: bool = JSON, store: str | None = STORE) -> None:
    """List the schedules, with what comes next."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.orchestrator.schedules.list()
        if json:
            for row in found:
                output.data_json(row)
            return
        if not found:
            output.note("Nothing is scheduled.")
            return
        output.table(("NAME", "CRON", "ZONE", "GRAPH", "NEXT", "LAST RUN"), [_shown(row) for row in found])

    session.run(work)


def _shown(row: ScheduleRow) -> tuple[str, ...]:
    schedule = row.schedule
    coming = "paused" if row.paused else "due" if row.next_at <= time.time() else output.moment(row.next_at)
    return schedule.name, schedule.cron, schedule.timezone, schedule.graph, coming, row.last_run or "-"


def pause(name: str = NAME, store: str | None = STORE) -> None:
    """Begin no run until it is resumed; what is missed meanwhile is not made up for."""
    _change(store, lambda schedules: schedules.pause(name))


def resume(name: str = NAME, store: str | None = STORE) -> None:
    """Go on with the next tick."""
    _change(store, lambda schedules: schedules.resume(name))


def remove(name: str = NAME, store: str | None = STORE) -> None:
    """Forget a schedule; runs that it began go on."""
    _change(store, lambda schedules: schedules.remove(name))


def _change(store: str | None, change: Callable[[Schedules], Awaitable[None]]) -> None:
    async def work() -> None:
        async with session.looking(store) as application:
            await change(application.orchestrator.schedules)

    session.run(work)
