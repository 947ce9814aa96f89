"""Wake-ups of the memory store: marks by topic that rise when something changed, and futures that wait for it."""

from __future__ import annotations

import asyncio


class Wake:
    """See `ports.store.Store.wait`."""

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def waits(self, topic: str) -> bool:
        return topic in self._waiters

    def touch(self, topic: str) -> None:
        """Something about this topic changed."""
        self._marks[topic] = self._marks.get(topic, 0) + 1
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

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        if seen == self._marks.get(topic, 0):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(topic, []).append(waiter)
            await asyncio.wait([waiter], timeout=timeout)
            waiter.cancel()
        return self._marks.get(topic, 0)
