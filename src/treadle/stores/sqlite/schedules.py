"""Schedules: the reads and writes of `ports.store.Schedules`."""

from __future__ import annotations

import apsw
import msgspec

from treadle.domain.schedule import Schedule, ScheduleRow
from treadle.ports.store import no_schedule
from treadle.stores.sqlite import connection as sql


def put(c: apsw.Connection, schedule: Schedule, next_at: float) -> None:
    sql.run(c, "put_schedule", (schedule.name, msgspec.json.encode(schedule).decode(), next_at))


def pause(c: apsw.Connection, name: str, next_at: float | None) -> None:
    sql.run(c, "pause_schedule", (name, next_at))
    if not c.changes():
        raise no_schedule(name)


def remove(c: apsw.Connection, name: str) -> None:
    sql.run(c, "delete_schedule", (name,))
    if not c.changes():
        raise no_schedule(name)


def rows(c: apsw.Connection) -> list[ScheduleRow]:
    return [
        ScheduleRow(msgspec.json.decode(spec, type=Schedule), next_at, bool(paused), last_at, last_run)
        for spec, next_at, paused, last_at, last_run in sql.rows(c, "schedule_rows")
    ]


def tick(c: apsw.Connection, name: str, seen: float, next_at: float, run_id: str | None) -> bool:
    sql.run(c, "tick", (name, seen, next_at, run_id))
    return c.changes() > 0
