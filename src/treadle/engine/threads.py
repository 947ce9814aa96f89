"""The threads of a worker: sync nodes run there.

They are the nodes' own, so nothing that a node waits for (a step, a heartbeat) can want for a thread that nodes hold.
A call of a function that has been quick is waited for on the spot: the way through the event loop takes longer than it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.engine.execute import Callee

QUICK_SECONDS = 0.0002
"""A function whose calls take less, on average, is quick."""
PATIENCE_SECONDS = 0.001
"""No call of a quick function holds up the event loop for longer."""
SLOW_SECONDS = 4 * QUICK_SECONDS
"""What a call counts at most in the average, so that a rare slow one does not make a function slow."""
WEIGHT = 0.1
"""Of the newest call in the average."""


class Threads:
    """As many threads as a worker has slots, started when needed. Belongs to one event loop until it is closed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads = 0
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._under_way: set[_Call] = set()
        _pools.add(self)

    async def call(self, callee: Callee, *args: Any) -> Any:
        """Call a function in a thread, with the context variables of the caller. Cancelled: the thread goes on."""
        call = _Call(callee, args)
        self._under_way.add(call)
        if len(self._under_way) > self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._serve, args=(self._calls,), name="treadle-node", daemon=True).start()
        patience = PATIENCE_SECONDS if callee.seconds < QUICK_SECONDS and not callee.wants_context else 0
        self._calls.put(call)
        if not call.over.acquire(timeout=patience):
            over = call.wanted = asyncio.get_running_loop().create_future()
            if not call.over.acquire(blocking=False):
                await over
        callee.seconds += WEIGHT * (min(call.seconds, SLOW_SECONDS) - callee.seconds)
        try:
            if call.error is not None:
                raise call.error
            return call.value
        finally:
            del call  # it refers to the error, whose traceback refers to this frame

    def _serve(self, calls: queue.SimpleQueue[_Call | None]) -> None:
        while (call := calls.get()) is not None:
            call.run(self._under_way)
            del call

    def close(self) -> None:
        """Let idle threads go, and busy ones once their call is over."""
        for _ in range(self._threads):
            self._calls.put(None)
        self._calls = queue.SimpleQueue()
        self._threads = 0

    def finish(self) -> None:
        """Wait until no call is under way."""
        for call in tuple(self._under_way):
            with call.over:
                pass


class _Call:
    __slots__ = ("args", "callee", "context", "error", "over", "seconds", "value", "wanted")

    def __init__(self, callee: Callee, args: tuple[Any, ...]) -> None:
        self.callee = callee
        self.args = args
        self.context = contextvars.copy_context()
        self.value: Any = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        self.over = threading.Lock()
        """Free once there is a value or an error."""
        self.over.acquire()
        self.wanted: asyncio.Future[None] | None = None
        """Set by a caller who has begun to wait in the event loop."""

    def run(self, under_way: set[_Call]) -> None:
        began = time.perf_counter()
        try:
            self.value = self.context.run(self.callee.func, *self.args)
        except BaseException as error:  # noqa: BLE001  # it is raised where the call was made
            self.error = error
        self.seconds = time.perf_counter() - began
        under_way.discard(self)
        self.over.release()
        if self.wanted is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self.wanted.get_loop().call_soon_threadsafe(self._tell, self.wanted)

    @staticmethod
    def _tell(wanted: asyncio.Future[None]) -> None:
        if not wanted.done():
            wanted.set_result(None)


_pools: weakref.WeakSet[Threads] = weakref.WeakSet()


@atexit.register
def _finish_calls() -> None:
    """A program does not end in the middle of a node's function."""
    for pool in list(_pools):
        pool.finish()
