"""Wake-ups within one process: marks by topic that rise when something changed, and futures that wait for it."""

from __future__ import annotations

import asyncio

from treadle.ports.store import TASKS


class Wake:
    """See `ports.store.Store.wait`. A store that other processes write to extends it by what they did."""

    def __init__(self) -> None:
        self._marks: dict[str, int] = {TASKS: 1}
        """They begin at 1: who has seen none (0) is told to look at once, for something may have changed before."""
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def waits(self, topic: str) -> bool:
        return bool(self._waiters.get(topic))

    def touch(self, topic: str) -> None:
        """This process changed something about a topic."""
        self.wake(topic)

    def wake(self, topic: str) -> None:
        """Wake who waits for a topic here."""
        if topic in self._marks:  # nobody has ever waited for the others
            self._marks[topic] += 1
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Something changed, and it is not known what."""
        for topic in list(self._marks):
            self.wake(topic)

    def later(self, topic: str, seconds: float) -> None:
        """Wake who waits for a topic here, after a while. Of several calls for a topic, the earliest counts."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(topic)
        if known is None or not loop.time() < known.when() <= loop.time() + seconds:
            if known is not None:
                known.cancel()
            self._timers[topic] = loop.call_later(seconds, self.wake, topic)

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        """See `ports.store.Store.wait`."""
        if seen == self._marks.setdefault(topic, 1):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiters = self._waiters.setdefault(topic, [])
            waiters.append(waiter)
            self._watch()
            try:
                await asyncio.wait([waiter], timeout=timeout)
            finally:
                waiter.cancel()
                if waiter in waiters:
                    waiters.remove(waiter)
        return self._marks[topic]

    def _is_waited_for(self) -> bool:
        return any(self._waiters.values())

    def _watch(self) -> None:
        """Somebody begins to wait: have an eye on other processes."""
