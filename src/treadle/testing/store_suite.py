"""The contract of the store port as tests, for any store. Needs pytest and pytest-asyncio.

class TestMyStore(StoreSuite):
    @pytest.fixture
    def factory(self):
        async def make(clock):
            return MyStore(clock=clock)
        return make
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from treadle.ports.store import Store
from treadle.testing.clock import FakeClock
from treadle.testing.suite_journal import JournalSuite, PresenceSuite
from treadle.testing.suite_limits import LimitsSuite
from treadle.testing.suite_runs import RunsSuite
from treadle.testing.suite_schedules import SchedulesSuite
from treadle.testing.suite_starts import StartsSuite
from treadle.testing.suite_tasks import TasksSuite

StoreFactory = Callable[[FakeClock], Awaitable[Store]]
"""Makes an empty store that takes its time from the clock given."""


class StoreSuite(RunsSuite, StartsSuite, TasksSuite, LimitsSuite, SchedulesSuite, JournalSuite, PresenceSuite):
    """Every sentence of `ports.store` as a test. Subclass it and override the fixture `factory`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def factory(self) -> StoreFactory:
        raise NotImplementedError("Override the fixture `factory` of StoreSuite.")

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest_asyncio.fixture
    async def store(self, factory: StoreFactory, clock: FakeClock) -> AsyncIterator[Store]:
        store = await factory(clock)
        await store.open()
        yield store
        await store.close()
