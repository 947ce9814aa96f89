"""Schedules in the memory store."""

from __future__ import annotations

import msgspec

from treadle.domain.schedule import Schedule, ScheduleRow
from treadle.ports.store import no_schedule


class Schedules:
    """See `ports.store.Schedules`."""

    def __init__(self) -> None:
        super().__init__()
        self._schedules: dict[str, ScheduleRow] = {}

    async def put_schedule(self, schedule: Schedule, next_at: float) -> None:
        known = self._schedules.get(schedule.name)
        last = (known.last_at, known.last_run) if known is not None else (None, None)
        self._schedules[schedule.name] = ScheduleRow(schedule, next_at, False, *last)

    async def pause_schedule(self, name: str, next_at: float | None) -> None:
        row = self._schedules.get(name)
        if row is None:
            raise no_schedule(name)
        at = row.next_at if next_at is None else next_at
        self._schedules[name] = msgspec.structs.replace(row, paused=next_at is None, next_at=at)

    async def remove_schedule(self, name: str) -> None:
        if self._schedules.pop(name, None) is None:
            raise no_schedule(name)

    async def schedules(self) -> list[ScheduleRow]:
        return [row for _, row in sorted(self._schedules.items())]

    async def tick(self, name: str, seen: float, next_at: float, run_id: str | None) -> bool:
        row = self._schedules.get(name)
        if row is None or row.paused or row.next_at != seen:
            return False
        last = (seen, run_id) if run_id is not None else (row.last_at, row.last_run)
        self._schedules[name] = ScheduleRow(row.schedule, next_at, False, *last)
        return True
