"""The contract of `ports.store.Schedules` as tests."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from treadle.domain.schedule import Schedule, ScheduleRow
from treadle.errors import NotFound
from treadle.ports.store import Store

NIGHTLY = Schedule("nightly", "0 3 * * *", "report", msgspec.Raw(b'{"n":1}'), "Europe/Berlin", "queue", "pkg:report")


class SchedulesSuite:
    """Schedules and their ticks."""

    async def test_schedules_are_listed_by_name_as_they_were_put(self, store: Store) -> None:
        assert await store.schedules() == []
        hourly = Schedule("hourly", "0 * * * *", "check")
        await store.put_schedule(NIGHTLY, 100.5)
        await store.put_schedule(hourly, 50.0)
        assert await store.schedules() == [ScheduleRow(hourly, 50.0), ScheduleRow(NIGHTLY, 100.5)]

    async def test_of_many_who_say_that_a_tick_is_dealt_with_one_is_right(self, store: Store) -> None:
        await store.put_schedule(NIGHTLY, 100.5)
        said = await asyncio.gather(*(store.tick("nightly", 100.5, 200.0 + n, f"r{n}") for n in range(8)))
        assert said.count(True) == 1
        n = said.index(True)
        assert await store.schedules() == [ScheduleRow(NIGHTLY, 200.0 + n, False, 100.5, f"r{n}")]

    async def test_a_tick_without_a_run_leaves_the_last_run_known(self, store: Store) -> None:
        await store.put_schedule(NIGHTLY, 100.0)
        assert await store.tick("nightly", 100.0, 200.0, "r1")
        assert await store.tick("nightly", 200.0, 300.0, None)
        assert await store.schedules() == [ScheduleRow(NIGHTLY, 300.0, False, 100.0, "r1")]

    async def test_a_paused_schedule_has_no_ticks_until_it_goes_on(self, store: Store) -> None:
        await store.put_schedule(NIGHTLY, 100.0)
        await store.pause_schedule("nightly", None)
        assert await store.schedules() == [ScheduleRow(NIGHTLY, 100.0, True)]
        assert not await store.tick("nightly", 100.0, 200.0, "r1")
        await store.pause_schedule("nightly", 500.0)
        assert await store.schedules() == [ScheduleRow(NIGHTLY, 500.0)]
        assert await store.tick("nightly", 500.0, 600.0, "r1")

    async def test_putting_a_schedule_again_replaces_it_and_keeps_what_was_begun_last(self, store: Store) -> None:
        await store.put_schedule(NIGHTLY, 100.0)
        await store.tick("nightly", 100.0, 200.0, "r1")
        await store.pause_schedule("nightly", None)
        changed = msgspec.structs.replace(NIGHTLY, cron="0 4 * * *")
        await store.put_schedule(changed, 300.0)
        assert await store.schedules() == [ScheduleRow(changed, 300.0, False, 100.0, "r1")]

    async def test_what_is_not_there_cannot_be_paused_removed_or_ticked(self, store: Store) -> None:
        await store.put_schedule(NIGHTLY, 100.0)
        await store.remove_schedule("nightly")
        assert await store.schedules() == []
        assert not await store.tick("nightly", 100.0, 200.0, "r1")
        for call in (store.remove_schedule("nightly"), store.pause_schedule("nightly", None)):
            with pytest.raises(NotFound, match="nightly"):
                await call
