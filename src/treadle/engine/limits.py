"""Limits of queues, as programs and the command line set them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from treadle.domain.limit import Limit, LimitRow, parse_rate
from treadle.ports.store import Store


class Limits:
    """Sets and reads limits. They are kept in the store, so every worker of every machine keeps them."""

    def __init__(self, store: Store, open_: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._open = open_

    async def set(
        self, queue: str, *, concurrency: int | None = None, per_key: int | None = None, rate: str | None = None
    ) -> Limit:
        """Limit what begins of a queue from now on; takes the place of what held for it.

        Args:
            concurrency: Tasks run at once, over all workers.
            per_key: Tasks with the same key run at once (see `Graph.add_node(key=...)`).
            rate: Tasks begun per time, every attempt counted: `10/60s`, `5/m`.

        Raises:
            UsageError: It says nothing, or something that cannot be.
        """
        number, seconds = parse_rate(rate) if rate is not None else (None, 1.0)
        limit = Limit(queue, concurrency, per_key, number, seconds)
        await self._open()
        await self._store.set_limit(limit)
        return limit

    async def remove(self, queue: str) -> None:
        """Raises NotFound."""
        await self._open()
        await self._store.remove_limit(queue)

    async def list(self) -> list[LimitRow]:
        """By queue, with what counts against them now."""
        await self._open()
        return await self._store.limits()
