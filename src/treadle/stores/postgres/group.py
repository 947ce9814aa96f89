"""Group commit: what arrives while other writes are on their way to the server shares the next statement.

Nothing waits for company: an idle store sends a single write at once. Of one run, only one statement is under way at a
time, so that what was planned on top of each other arrives in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from treadle.errors import StoreUnavailable
from treadle.stores.postgres.connection import LOST

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

MOST = 32
"""Writes in one statement; more gains nothing and holds the runs' rows for longer."""
UNDER_WAY = 3
"""Statements: while the server works on some, the next is made."""


class _Job(Generic[I, R]):
    __slots__ = ("future", "item", "run_id")

    def __init__(self, run_id: str, item: I, future: asyncio.Future[R]) -> None:
        self.run_id = run_id
        self.item = item
        self.future = future


class Group(Generic[I, R]):
    """Collects writes of one kind and hands them on as batches."""

    def __init__(self, record: Callable[[list[I]], Awaitable[list[R]]], done: Callable[[I, R], None]) -> None:
        """`record` writes a batch, whole or not at all; `done` is called per item, before its submitter goes on."""
        self._record = record
        self._done = done
        self._waiting: list[_Job[I, R]] = []
        self._scheduled = False
        self._busy: set[str] = set()
        """Runs with a statement under way."""
        self._senders: set[asyncio.Task[None]] = set()

    def submit(self, run_id: str, item: I) -> asyncio.Future[R]:
        """Write one item; the future is set once it is durable, or refused."""
        loop = asyncio.get_running_loop()
        job = _Job[I, R](run_id, item, loop.create_future())
        self._waiting.append(job)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return job.future

    async def close(self) -> None:
        """Finish what was submitted."""
        while self._waiting or self._senders:
            self._flush()
            await asyncio.wait(self._senders)

    def _flush(self) -> None:
        """Send what this turn of the event loop has submitted, as far as its runs are free."""
        self._scheduled = False
        while self._waiting and len(self._senders) < UNDER_WAY:
            batch = self._take()
            if not batch:
                return
            self._busy.update(job.run_id for job in batch)
            sender = asyncio.get_running_loop().create_task(self._send(batch))
            self._senders.add(sender)
            sender.add_done_callback(self._sent)

    def _take(self) -> list[_Job[I, R]]:
        """The next batch: of runs that have nothing under way."""
        batch: list[_Job[I, R]] = []
        rest: list[_Job[I, R]] = []
        held: set[str] = set()
        for job in self._waiting:
            if len(batch) < MOST and job.run_id not in self._busy and job.run_id not in held:
                batch.append(job)
            else:
                held.add(job.run_id)
                rest.append(job)
        self._waiting = rest
        return batch

    def _sent(self, sender: asyncio.Task[None]) -> None:
        self._senders.discard(sender)
        self._flush()

    async def _send(self, batch: list[_Job[I, R]]) -> None:
        try:
            await self._try(batch)
        finally:
            self._busy.difference_update(job.run_id for job in batch)

    async def _try(self, batch: list[_Job[I, R]]) -> None:
        try:
            results = await self._record([job.item for job in batch])
        except Exception as error:  # noqa: BLE001  # given to whoever submitted it
            if len(batch) == 1 or _is_away(error):
                for job in batch:
                    if not job.future.done():
                        job.future.set_exception(error)
            else:  # one of them breaks the statement, which undid them all: each gets one of its own
                for job in batch:
                    await self._try([job])
            return
        for job, result in zip(batch, results, strict=True):
            self._done(job.item, result)
            if not job.future.done():
                job.future.set_result(result)


def _is_away(error: Exception) -> bool:
    """Whether the server was not reached, so that trying one by one would fail as often as there are items."""
    return isinstance(error, StoreUnavailable) and isinstance(error.__cause__, LOST)
