"""The heartbeat's connection: asyncpg on an event loop of its own, so that one driver does for everything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

from treadle.stores.postgres.connection import ERRORS, LOST, Connection, Target, as_ours, connect, queries
from treadle.stores.postgres.pool import close


class PostgresRenewer:
    """Renews leases, from any thread without a running event loop; from one thread at a time. Connects when needed."""

    def __init__(self, where: Target) -> None:
        self._where = where
        self._sql = queries(where)["renew"]
        self._loop = asyncio.new_event_loop()
        self._connection: Connection | None = None

    def renew(self, worker: str, held: Mapping[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        """See `ports.store.Renewer`."""
        return self._loop.run_until_complete(self._renew(worker, dict(held), lease_seconds, within))

    async def _renew(self, worker: str, held: dict[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        try:
            async with asyncio.timeout(within):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await connect(self._where)
                rows = await self._connection.fetch(self._sql, worker, list(held), list(held.values()), lease_seconds)
        except ERRORS as error:
            if self._connection is not None and isinstance(error, LOST):
                self._connection.terminate()
                self._connection = None
            raise as_ours(error, self._where, "No lease was renewed.") from error
        return frozenset(held) - {row[0] for row in rows}

    def close(self) -> None:
        """Idempotent. May be called from a thread with a running event loop: the goodbye is said by another."""
        if not self._loop.is_closed():
            goodbye = threading.Thread(target=self._close, name="treadle-postgres-goodbye")
            goodbye.start()
            goodbye.join()

    def _close(self) -> None:
        if self._connection is not None:
            self._loop.run_until_complete(close(self._connection))
        self._loop.close()
