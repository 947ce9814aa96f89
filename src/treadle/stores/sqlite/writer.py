"""The one writer of a process: everything submitted in one turn of the event loop shares a transaction and its fsync.

A disk that syncs in less than a thread switch costs (many SSDs, most test machines) is written from the event loop
itself; any other from a thread, where what arrives meanwhile shares the next transaction. Either way nothing waits for
company, so an idle system pays no delay. A task that is alone in writing does not even wait for the turn to end, and
has its writes done in the event loop on slower disks, too: nobody would share a transaction with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from treadle.errors import StoreUnavailable, TreadleError
from treadle.stores.sqlite.connection import BUSY_MS, as_ours, connect
from treadle.stores.sqlite.migrate import migrate

T = TypeVar("T")
Operation = Callable[[apsw.Connection], Any]
MOST = 256
"""Operations in one transaction, so that other processes get their turn."""
QUICK_SECONDS = 0.0006
"""A transaction that takes less, on average, may hold up the event loop when several tasks write."""
TURN_SECONDS = 0.002
"""For so long a task that is alone in writing may hold up a turn of the event loop."""
SLOW_SECONDS = 2 * TURN_SECONDS
"""What a transaction counts at most in the average, so that a disk that stalls for once is quick again soon."""
QUICK_BUSY_MS = 2


class _Job:
    __slots__ = ("error", "future", "operation", "plain", "result")

    def __init__(self, operation: Operation, future: asyncio.Future[Any], plain: bool) -> None:
        self.operation = operation
        self.future = future
        self.plain = plain
        self.result: Any = None
        self.error: BaseException | None = None


class _Turn:
    """A turn of the event loop in which something is submitted, and the task that began with it."""

    __slots__ = ("at_once", "crowded", "first", "is_over", "was_crowded")

    def __init__(self, first: asyncio.Task[Any] | None, before: _Turn | None = None) -> None:
        self.first = first
        self.crowded: bool = False
        """Whether others have submitted something, too."""
        self.was_crowded: bool = before is not None and before.crowded
        """Whether that was so in the turn before."""
        self.at_once = 0
        """Jobs that were written as they were submitted."""
        self.is_over = before is None

    @property
    def is_lone(self) -> bool:
        """Whether nobody but its first task is likely to submit anything in it."""
        return not (self.crowded or self.was_crowded)


class Writer:
    """Runs operations on its own connection, in order of submission."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self._path = path
        self._synchronous = synchronous
        self._submitted: list[_Job] = []
        self._in_thread = 0
        """Jobs that the thread has; while there are any, the connection is its own."""
        self._seconds = TURN_SECONDS
        """What a transaction takes: a moving average."""
        self._turn = _Turn(None)
        """The turn of the event loop in which something was submitted last."""
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
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
            if self._submitted:
                self._hand_over()
            self._queue.put(None)
            await asyncio.to_thread(thread.join)

    def submit(self, operation: Callable[[apsw.Connection], T], *, plain: bool = False) -> asyncio.Future[T]:
        """Run an operation in a transaction; the future is set once it is durable.

        An operation must check before it writes: what it raises as a TreadleError leaves its writes in place.
        `plain` ones run outside a transaction.
        """
        if self._thread is None or self._loop is None:
            raise StoreUnavailable(f"The store {self._path} is closed; nothing was recorded.", hint="Open it first.")
        job = _Job(operation, self._loop.create_future(), plain)
        self._submitted.append(job)
        task = asyncio.current_task()
        turn = self._turn
        if turn.is_over:
            turn = self._turn = _Turn(task, turn)
            self._loop.call_soon(self._end_turn)
        turn.crowded = turn.crowded or task is not turn.first
        if turn.is_lone and (turn.at_once + 1) * self._seconds <= TURN_SECONDS:
            turn.at_once += 1
            self._flush()
        return job.future

    def _end_turn(self) -> None:
        self._turn.is_over = True
        self._flush()

    def _flush(self) -> None:
        """Write what has been submitted."""
        if not self._submitted:
            return
        bearable = TURN_SECONDS if self._turn.is_lone else QUICK_SECONDS
        if self._in_thread or self._seconds > bearable or len(self._submitted) > MOST:
            self._hand_over()
            return
        batch, self._submitted = self._submitted, []
        assert self._connection is not None
        self._connection.set_busy_timeout(QUICK_BUSY_MS)
        busy = not self._do(self._connection, batch, patient=False)
        self._connection.set_busy_timeout(BUSY_MS)
        if busy:  # another process is writing: wait for it in the thread
            self._submitted = [*batch, *self._submitted]
            self._hand_over()
        else:
            _resolve(batch)

    def _hand_over(self) -> None:
        batch, self._submitted = self._submitted, []
        self._in_thread += len(batch)
        self._queue.put(batch)

    def _run(self) -> None:
        assert self._connection is not None and self._loop is not None
        waiting: list[_Job] = []
        more = True
        while more or waiting:
            while more and (not waiting or not self._queue.empty()) and len(waiting) < MOST:
                jobs = self._queue.get()
                more = jobs is not None
                waiting += jobs or ()
            batch, waiting = waiting[:MOST], waiting[MOST:]
            if batch:
                self._do(self._connection, batch, patient=True)
                self._loop.call_soon_threadsafe(self._give_back, batch)
        self._connection.close()

    def _give_back(self, batch: list[_Job]) -> None:
        self._in_thread -= len(batch)
        _resolve(batch)

    def _do(self, connection: apsw.Connection, batch: list[_Job], *, patient: bool) -> bool:
        """Run a batch; False if another process is writing and we are not `patient`: then nothing was done."""
        jobs = [job for job in batch if not job.plain]
        if jobs:
            try:
                whole = self._transaction(connection, jobs)
            except apsw.BusyError as error:
                if not patient:
                    return False
                for job in jobs:
                    job.error = as_ours(error, self._path)
                whole = True
            if not whole:
                for job in jobs:  # one of them broke the transaction: each gets one of its own
                    self._transaction(connection, [job])
        for job in batch:
            if job.plain:
                _attempt(connection, job)
        return True

    def _transaction(self, connection: apsw.Connection, jobs: list[_Job]) -> bool:
        """Run jobs in one transaction; False if it broke, and each should be tried alone. Raises BusyError."""
        started = time.perf_counter()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                _attempt(connection, job)
            connection.execute("COMMIT")
        except Exception as error:  # reported to whoever submitted it
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            elif isinstance(error, apsw.BusyError):
                raise
            for job in jobs:
                job.error = as_ours(error, self._path) if isinstance(error, apsw.Error) else error
            return len(jobs) == 1
        self._seconds += 0.1 * (min(time.perf_counter() - started, SLOW_SECONDS) - self._seconds)
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
