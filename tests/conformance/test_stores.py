"""Every store keeps the contract of the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.ports.store import Store
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore
from treadle.testing.clock import FakeClock
from treadle.testing.store_suite import StoreFactory, StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def factory(self) -> StoreFactory:
        async def make(clock: FakeClock) -> Store:
            return MemoryStore(clock)

        return make


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> StoreFactory:
        async def make(clock: FakeClock) -> Store:
            return SqliteStore(tmp_path / "runs.db", clock=clock, synchronous="OFF")

        return make


class TestSqliteStoreThatWritesInAThread(TestSqliteStore):
    """As on a disk that is slow to sync."""

    @pytest.fixture(autouse=True)
    def slow_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for bound in ("QUICK_SECONDS", "TURN_SECONDS"):
            monkeypatch.setattr(f"treadle.stores.sqlite.writer.{bound}", 0.0)
