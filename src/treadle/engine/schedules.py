"""Runs that begin by the calendar: keeping schedules, and beginning one run per tick however many workers look."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from treadle.domain import codec
from treadle.domain.schedule import Overlap, Schedule, ScheduleRow
from treadle.engine import starting
from treadle.engine.advance import Placing
from treadle.engine.results import RunOptions
from treadle.errors import UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import Store

logger = logging.getLogger("treadle.schedules")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def next_tick(cron: str, timezone: str, after: float) -> float:
    """When a cron expression comes due next. Raises UsageError for one that cannot be read, or never comes due.

    As Debian's cron does: what falls into the hour that a change of clocks leaves out comes right after it, and what
    falls into the hour that comes twice comes once, unless it comes every hour anyway.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        hint = "Name one of the IANA list: Europe/Berlin, UTC. If there is none at all, install tzdata."
        raise UsageError(f"There is no time zone {timezone!r}; nothing was scheduled.", hint=hint) from error
    try:
        if len(cron.split()) != 5:
            raise CronSimError("Wrong number of fields")
        return next(CronSim(cron, datetime.fromtimestamp(after, zone))).timestamp()
    except (CronSimError, StopIteration) as error:
        said = f" ({error})" if str(error) else ""
        hint = "Write minute, hour, day of month, month and day of week: '*/5 * * * *', '0 9 * * 1-5'."
        raise UsageError(f"{cron!r} never comes due{said}; nothing was scheduled.", hint=hint) from error


class Schedules:
    """Keeps schedules in the store. Any worker that knows a schedule's graph begins its runs."""

    def __init__(
        self, store: Store, open_: Callable[[], Awaitable[None]], add_graph: Callable[[Any], CompiledGraph]
    ) -> None:
        self._store = store
        self._open = open_
        self._add_graph = add_graph

    async def add(
        self, name: str, cron: str, graph: Graph | CompiledGraph, initial_state: Mapping[str, Any] | None = None, *,
        timezone: str = "UTC", overlap: Overlap = "skip", target: str = "",
    ) -> ScheduleRow:  # fmt: skip
        """Begin a run of a graph at each tick from now on; takes the place of a schedule of that name.

        Ticks that came while no worker lived are made up for by one run.

        Args:
            cron: Five fields: minute, hour, day of month, month, day of week.
            overlap: What a tick comes to while the run before is live: `skip` it, or `queue` one run.

        Raises:
            UsageError: The name, the expression, the time zone or the state cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a schedule; nothing was scheduled.", hint="Use letters, digits, '.', '_', '-'."
            )
        if overlap not in ("skip", "queue"):
            raise UsageError(f"There is no overlap {overlap!r}; nothing was scheduled.", hint="Use skip or queue.")
        compiled = self._add_graph(graph)
        state = dict(initial_state or {})
        compiled.schema.initial(state)
        await self._open()
        schedule = Schedule(name, cron, compiled.name, msgspec.Raw(codec.encode(state)), timezone, overlap, target)
        next_at = next_tick(cron, timezone, await self._store.now())
        await self._store.put_schedule(schedule, next_at)
        return ScheduleRow(schedule, next_at)

    async def remove(self, name: str) -> None:
        """Its runs go on. Raises NotFound."""
        await self._open()
        await self._store.remove_schedule(name)

    async def pause(self, name: str) -> None:
        """Begin no run until it is resumed; ticks in between are not made up for. Raises NotFound."""
        await self._open()
        await self._store.pause_schedule(name, None)

    async def resume(self, name: str) -> None:
        """Go on with the next tick. Raises NotFound."""
        await self._open()
        cron, timezone = "* * * * *", "UTC"
        for row in await self._store.schedules():
            if row.schedule.name == name:
                cron, timezone = row.schedule.cron, row.schedule.timezone
        await self._store.pause_schedule(name, next_tick(cron, timezone, await self._store.now()))

    async def list(self) -> list[ScheduleRow]:
        """By name."""
        await self._open()
        return await self._store.schedules()


class Ticker:
    """Begins the runs that are due, for one worker. Any number of them may look at once."""

    def __init__(
        self, store: Store, graphs: Mapping[str, CompiledGraph], place: Callable[[str, str], Placing | None]
    ) -> None:
        self._store = store
        self._graphs = graphs
        self._place = place
        self._told: set[tuple[str, float]] = set()
        """Ticks that could not be told."""

    async def tick(self) -> float | None:
        """Begin what is due; returns the seconds until something is due next, or None."""
        if not self._graphs:
            return None
        rows = await self._store.schedules()
        known = {graph.name: graph for graph in self._graphs.values()}
        mine = [row for row in rows if not row.paused and row.schedule.graph in known]
        if not mine:
            return None
        now = await self._store.now()
        coming = []
        for row in mine:
            next_at: float | None = row.next_at
            if row.next_at <= now:
                next_at = await self._begin_surely(row, known[row.schedule.graph], now)
            if next_at is not None:
                coming.append(max(next_at - now, 0.0))
        return min(coming, default=None)

    async def _begin_surely(self, row: ScheduleRow, graph: CompiledGraph, now: float) -> float | None:
        """As `_begin`; one schedule that cannot be reckoned here, say for want of time zones, stops no other."""
        try:
            return await self._begin(row, graph, now)
        except UsageError as error:
            tick = (row.schedule.name, row.next_at)
            if tick not in self._told:
                self._told.add(tick)
                logger.warning("Schedule %s: its ticks cannot be told here: %s", row.schedule.name, error)
            return None

    async def _begin(self, row: ScheduleRow, graph: CompiledGraph, now: float) -> float | None:
        """Begin the run of a tick, unless somebody has; returns the next tick, or None to look again later.

        The run's id tells the tick, so that no crash and no other worker makes two runs of it; its dedup key tells the
        schedule, so that no two of its runs are live.
        """
        schedule = row.schedule
        run_id = f"{schedule.name}-{datetime.fromtimestamp(row.next_at, UTC):%Y%m%dT%H%M%SZ}"
        labels = {"kind": "run", "target": schedule.target or schedule.graph, "schedule": schedule.name}
        options = RunOptions(run_id, labels=labels, dedup=f"schedule:{schedule.name}")
        next_at = next_tick(schedule.cron, schedule.timezone, now)
        begun = False
        try:
            place = self._place(graph.pin, run_id)
            state = codec.decode(schedule.state)
            _, tasks, events, status = starting.first_plan(graph, run_id, state, labels, 0, place)
        except Exception as error:  # noqa: BLE001  # the code has changed, and the state does not fit it any more
            logger.warning("Schedule %s: no run was begun: %s", schedule.name, error)
        else:
            made = await self._store.create_run(starting.new_run(graph, run_id, options, tasks, events, status))
            if made.status == "duplicate" and schedule.overlap == "queue":
                return None
            begun = made.status != "duplicate"
        await self._store.tick(schedule.name, row.next_at, next_at, run_id if begun else None)
        return next_at
