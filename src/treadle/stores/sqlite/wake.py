"""Wake-ups: at once for what this process wrote, soon for what another did (a look at SQLite's change counter)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from treadle.errors import TreadleError
from treadle.ports.store import TASKS

LOOK_SECONDS = 0.05


class Wake:
    """Marks by topic that rise when something changed, and futures that wait for it."""

    def __init__(self, data_version: Callable[[], Awaitable[int]]) -> None:
        self._data_version = data_version
        self._marks: dict[str, int] = {TASKS: 0}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._looker: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop looking; whoever waits is woken."""
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.gather(self._looker, return_exceptions=True)
            self._looker = None
        self.touch_waited()

    def touch(self, topic: str) -> None:
        """Something about this topic changed."""
        if topic in self._marks:  # nobody has ever waited for the others
            self._marks[topic] += 1
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def later(self, topic: str, seconds: float) -> None:
        """Wake who waits for a topic here, after a while. Of several calls for a topic, the earliest counts."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(topic)
        if known is None or not loop.time() < known.when() <= loop.time() + seconds:
            if known is not None:
                known.cancel()
            self._timers[topic] = loop.call_later(seconds, self.touch, topic)

    def touch_waited(self) -> None:
        """Something changed, and it is not known what: wake everybody."""
        for topic in list(self._waiters):
            self.touch(topic)

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        """See `ports.store.Store.wait`."""
        if seen == self._marks.setdefault(topic, 0):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(topic, []).append(waiter)
            if self._looker is None or self._looker.done():
                self._looker = asyncio.get_running_loop().create_task(self._look())
            await asyncio.wait([waiter], timeout=timeout)
            waiter.cancel()
        return self._marks[topic]

    async def _look(self) -> None:
        """While anybody waits, look whether another process has committed."""
        try:
            seen = await self._data_version()
            while any(not waiter.done() for waiters in self._waiters.values() for waiter in waiters):
                await asyncio.sleep(LOOK_SECONDS)
                now = await self._data_version()
                if now != seen:
                    seen = now
                    self.touch_waited()
        except TreadleError:
            return  # the store was closed under us; polling goes on by itself
