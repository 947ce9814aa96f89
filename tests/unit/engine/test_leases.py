"""The heartbeat: a worker that cannot renew lets go before its leases end, however its store is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import apsw
import pytest

from treadle.engine.lease import Heartbeat, Renewals
from treadle.errors import StoreUnavailable
from treadle.stores.sqlite import SqliteStore

LEASE = 1.0


class Away:
    """A renewer that works until `gone` is set; then it does what `trouble` does with the time that it is given."""

    def __init__(self, trouble: Callable[[float], object]) -> None:
        self.gone = threading.Event()
        self.renewed = 0.0
        """When the last renewal that came through was asked for."""
        self._trouble = trouble

    def renew(self, worker: str, held: Mapping[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        if self.gone.is_set():
            self._trouble(within)
            raise StoreUnavailable("away")
        self.renewed = time.monotonic()
        return frozenset()

    def close(self) -> None: ...


@pytest.mark.parametrize("trouble", [time.sleep, lambda within: None], ids=["says nothing", "refuses"])
def test_what_cannot_be_renewed_is_let_go_before_its_lease_ends(trouble: Callable[[float], object]) -> None:
    away = Away(trouble)
    told, dropped = threading.Event(), list[float]()

    def lost(task_ids: frozenset[int]) -> None:
        assert task_ids == {7}
        dropped.append(time.monotonic())
        told.set()

    heartbeat = Heartbeat(Renewals(lambda: away, "w"), "w", {7: 1}, LEASE, lost)
    heartbeat.start()
    try:
        assert not told.wait(LEASE * 1.5), "it was renewed, and let go"
        away.gone.set()
        assert told.wait(LEASE * 2)
    finally:
        heartbeat.stop()
    assert LEASE * 0.6 < dropped[0] - away.renewed < LEASE


async def test_a_renewal_waits_for_another_writer_only_as_long_as_it_may(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    await store.open()
    renewals = Renewals(store.renewer, "w")
    assert renewals.renew({7: 1}, LEASE, 0.2) == {7}
    writer = apsw.Connection(str(tmp_path / "runs.db"))
    writer.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="No lease was renewed"):
        renewals.renew({7: 1}, LEASE, 0.2)
    assert time.monotonic() - began < 10
    writer.execute("ROLLBACK")
    writer.close()
    renewals.close()
    await store.close()
