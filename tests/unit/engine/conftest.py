"""An orchestrator over each store, quick to notice what others did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from flows import QUICK

from treadle.engine.orchestrator import Orchestrator
from treadle.ports.store import Store
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "r.db", synchronous="OFF")
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def orchestrator(store: Store) -> AsyncIterator[Orchestrator]:
    async with Orchestrator(store, settings=QUICK) as made:
        yield made
