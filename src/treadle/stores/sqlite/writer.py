"""The one writer of a process: a thread that runs all that waits in one transaction (group commit).

An operation starts at once when nothing else is under way, so an idle system pays no delay; what arrives meanwhile
shares the next transaction and its one fsync.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from treadle.errors import StoreUnavailable, TreadleError
from treadle.stores.sqlite.connection import as_ours, connect, migrate

T = TypeVar("T")
Operation = Callable[[apsw.Connection], Any]
MOST = 256
"""Operations in one transaction, so that other processes get their turn."""


class _Job:
    __slots__ = ("error", "future", "operation", "plain", "result")

    def __init__(self, operation: Operation, future: asyncio.Future[Any], plain: bool) -> None:
        self.operation = operation
        self.future = future
        self.plain = plain
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """Runs operations on its own connection, in order of submission."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self._path = path
        self._synchronous = synchronous
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: apsw.Connection | None = None

    async def start(self) -> None:
        """Open the file and bring its schema up to date. Raises StoreUnavailable."""
        self._loop = asyncio.get_running_loop()
        self._connection = await asyncio.to_thread(self._open)
        self._thread = threading.Thread(target=self._run, name="treadle-sqlite-writer", daemon=True)
        self._thread.start()

    def _open(self) -> apsw.Connection:
        connection = connect(self._path, synchronous=self._synchronous)
        migrate(connection, self._path)
        return connection

    async def stop(self) -> None:
        """Finish what was submitted, then close the file."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def submit(self, operation: Callable[[apsw.Connection], T], *, plain: bool = False) -> asyncio.Future[T]:
        """Run an operation in a transaction; the future is set once it is durable.

        An operation must check before it writes: what it raises as a TreadleError leaves its writes in place.
        `plain` ones run outside a transaction.
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"The store {self._path} is closed; nothing was recorded.", hint="Open it first.")
        job = _Job(operation, self._loop.create_future(), plain)
        self._jobs.put(job)
        return job.future

    def _run(self) -> None:
        assert self._connection is not None and self._loop is not None
        connection, loop = self._connection, self._loop
        more = True
        while more:
            batch: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                batch.append(job)
                if len(batch) == MOST or self._jobs.empty():
                    break
                job = self._jobs.get()
            more = job is not None
            if batch:
                self._do(connection, batch)
                loop.call_soon_threadsafe(_resolve, batch)
        connection.close()

    def _do(self, connection: apsw.Connection, batch: list[_Job]) -> None:
        for job in batch:
            if job.plain:
                _attempt(connection, job)
        jobs = [job for job in batch if not job.plain]
        if jobs and not self._transaction(connection, jobs):
            for job in jobs:  # one of them broke the transaction: each gets one of its own
                self._transaction(connection, [job])

    def _transaction(self, connection: apsw.Connection, jobs: list[_Job]) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for job in jobs:
                    _attempt(connection, job)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except apsw.Error as error:
            for job in jobs:
                job.error = as_ours(error, self._path)
            return len(jobs) == 1
        except Exception as error:  # noqa: BLE001  # reported to whoever submitted it
            for job in jobs:
                job.error = error
            return len(jobs) == 1
        return True


def _resolve(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


def _attempt(connection: apsw.Connection, job: _Job) -> None:
    job.error = None
    try:
        job.result = job.operation(connection)
    except TreadleError as error:
        job.error = error
    except apsw.Error as error:
        if not job.plain:
            raise
        job.error = error
