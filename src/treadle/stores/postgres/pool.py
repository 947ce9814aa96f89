"""A pool of connections that outlives its server: what is safe to repeat is repeated, what is in doubt is looked up."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from treadle.errors import StoreUnavailable, TreadleError
from treadle.stores.postgres.connection import (
    ERRORS,
    LOST,
    REPEATABLE,
    Connection,
    Target,
    as_ours,
    connect,
    queries,
)

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]
IN_DOUBT = "Whether it was recorded is not known."


class Pool:
    """Up to `pool_size` connections, opened when needed, dropped when broken."""

    def __init__(self, where: Target, patience_seconds: float) -> None:
        """`patience_seconds`: how long to try to get a lost server back."""
        self.where = where
        self.sql = queries(where)
        self.opened = False
        self._patience = patience_seconds
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(where.pool_size)

    async def open(self) -> None:
        """Connect once, without patience. Raises StoreUnavailable."""
        try:
            self._idle.append(await connect(self.where))
        except ERRORS as error:
            raise as_ours(error, self.where) from error
        self.opened = True

    async def close(self) -> None:
        """Wait for what is under way, then disconnect."""
        self.opened = False
        for _ in range(self.where.pool_size):
            await self._slots.acquire()
        while self._idle:
            await close(self._idle.pop())
        for _ in range(self.where.pool_size):
            self._slots.release()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection of one's own. It is dropped if it broke, or was left in the middle of something."""
        async with self._slots:
            if not self.opened:
                raise StoreUnavailable(f"The store {self.where.shown} is closed.", hint="Open it first.")
            while self._idle and self._idle[-1].is_closed():
                self._idle.pop()
            connection = self._idle.pop() if self._idle else await connect(self.where)
            try:
                yield connection
            except BaseException as error:
                broken = connection.is_closed() or isinstance(error, LOST)
                if broken or not isinstance(error, (*ERRORS, TreadleError)):  # the latter: cancelled
                    connection.terminate()
                else:
                    self._idle.append(connection)
                if broken and isinstance(error, asyncpg.InterfaceError):
                    raise ConnectionResetError(str(error)) from error
                raise
            self._idle.append(connection)

    async def run(self, work: Work[T], *, again: Work[T] | None = None) -> T:
        """Do some work on a connection.

        If the connection breaks under it, nobody knows whether it took place: then `again` is done on a new one, which
        must find that out; without `again` the work must be safe to repeat.

        Raises:
            StoreUnavailable: The server did not come back in time. The message says whether that leaves a doubt.
        """
        give_up: float | None = None
        doubt = False
        while True:
            sent = False
            try:
                async with self._connection() as connection:
                    sent = True
                    return await (again if doubt and again else work)(connection)
            except REPEATABLE as error:
                trouble: BaseException = error
                sent = False
            except LOST as error:
                if not self.opened:
                    raise as_ours(error, self.where) from error
                trouble = error
            except ERRORS as error:
                raise as_ours(error, self.where) from error
            doubt = doubt or sent
            now = time.monotonic()
            give_up = give_up or now + self._patience
            if now >= give_up:
                raise as_ours(trouble, self.where, IN_DOUBT if doubt else "Nothing was recorded.") from trouble
            await asyncio.sleep(random.uniform(0.02, 0.2))

    async def rows(self, name: str, *values: Any) -> list[Any]:
        """All rows of a named query that is safe to repeat."""
        sql = self.sql[name]
        return await self.run(lambda c: c.fetch(sql, *values))


async def close(connection: Connection) -> None:
    """Say goodbye, or hang up if the other side does not answer."""
    try:
        await connection.close(timeout=2)
    except ERRORS:
        connection.terminate()
