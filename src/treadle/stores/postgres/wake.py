"""Wake-ups: at once for what this process wrote; for what others did, NOTIFY, or a look at the database now and then.

One connection per process both listens and notifies. What is written within a few milliseconds is told in one NOTIFY,
after its commit and outside its transaction: a NOTIFY within would make every commit queue for one lock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from treadle.errors import TreadleError
from treadle.ports.store import TASKS
from treadle.stores import wake
from treadle.stores.postgres.connection import ERRORS, Connection, connect
from treadle.stores.postgres.pool import Pool, close

logger = logging.getLogger("treadle.store")
_Work = Callable[[], Coroutine[Any, Any, None]]

GATHER_SECONDS = 0.01
"""Between two NOTIFYs; the first after a pause goes out at once."""
LOOK_SECONDS = 0.25
"""Between two looks, while nobody listens."""
RECONNECT_SECONDS = 1.0
PAYLOAD = 7000
"""Bytes; PostgreSQL takes less than 8000."""
EVERYTHING = "*"
SEPARATOR = "\x1f"


class Wake(wake.Wake):
    """Tells other processes, and hears from them."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._channel = f"{pool.where.schema}_news"
        self._news: set[str] = set()
        self._seen: dict[str, object] = {}
        self._listener: Connection | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    async def open(self) -> None:
        """Listen, if there is a way to; keeps trying by itself when that breaks."""
        self._closed = False
        if self._pool.where.listens_at is not None:
            await self._listen()

    async def close(self) -> None:
        """Tell what is still to be told; whoever waits is woken."""
        self._closed = True
        teller = self._tasks.pop("tell", None)
        if teller is not None:
            await asyncio.gather(teller, return_exceptions=True)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        self.wake_all()
        listener, self._listener = self._listener, None
        if listener is not None:
            await close(listener)

    def touch(self, topic: str) -> None:
        """This process changed something about a topic: wake who waits here, and let the others know."""
        self.wake(topic)
        self._news.add(topic)
        self._keep("tell", self._tell)

    async def wait(self, topic: str, seen: int, timeout: float) -> int:
        if self._closed:
            await asyncio.sleep(timeout)  # nobody will bring news
            return self._marks.get(topic, 1)
        return await super().wait(topic, seen, timeout)

    def _watch(self) -> None:
        if self._listener is None:
            self._keep("look", self._look)

    def _keep(self, name: str, work: _Work) -> None:
        """Have a task of this name at work, unless one is."""
        task = self._tasks.get(name)
        if (task is None or task.done()) and not self._closed:
            self._tasks[name] = asyncio.get_running_loop().create_task(work(), name=f"treadle-postgres-{name}")

    async def _tell(self) -> None:
        while self._news:
            topics, self._news = self._news, set()
            try:
                await self._notify(list(_payloads(topics)))
            except (TreadleError, *ERRORS) as error:
                logger.info("Others were not told of news, and will find it by looking: %s", error)
            if not self._closed:
                await asyncio.sleep(GATHER_SECONDS)

    async def _notify(self, payloads: list[str]) -> None:
        if self._listener is not None and not self._listener.is_closed():
            await self._listener.fetch(self._pool.sql["notify"], self._channel, payloads)
        else:
            await self._pool.rows("notify", self._channel, payloads)

    async def _listen(self, *, again: bool = False) -> None:
        listener = None
        try:
            listener = await connect(self._pool.where, self._pool.where.listens_at)
            listener.add_termination_listener(self._lost)
            await listener.add_listener(self._channel, self._heard)
        except BaseException as error:
            if listener is not None:
                listener.terminate()
            if not isinstance(error, (TreadleError, *ERRORS)):  # cancelled
                raise
            level = logging.DEBUG if again else logging.WARNING
            logger.log(level, "Cannot LISTEN; changes by others are looked for instead: %s", error)
            self._keep("listen", self._listen_again)
            return
        self._listener = listener
        self.wake_all()  # what was told meanwhile has been missed

    async def _listen_again(self) -> None:
        while self._listener is None and not self._closed:
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1.5))
            await self._listen(again=True)

    def _lost(self, connection: Connection) -> None:
        if connection is self._listener and not self._closed:
            self._listener = None
            self._keep("listen", self._listen_again)
            self.wake_all()

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        if self._listener is not None and pid == self._listener.get_server_pid():
            return  # our own words
        for topic in str(payload).split(SEPARATOR):
            if topic == EVERYTHING:
                self.wake_all()
            else:
                self.wake(topic)

    async def _look(self) -> None:
        """While somebody waits and nobody listens: see whether there are new tasks, or news of the runs waited for.

        What was never looked at counts as news: it may have changed since whoever waits has read it.
        """
        while self._listener is None and self._is_waited_for():
            runs = [topic for topic, waiters in self._waiters.items() if waiters and topic != TASKS]
            try:
                [(newest, seqs)] = await self._pool.rows("changes", runs)
            except TreadleError:
                return  # the store is away or closed; whoever waits looks again by itself
            for topic, value in ((TASKS, newest), *zip(runs, seqs, strict=True)):
                if value and self._seen.get(topic) != value:
                    self._seen[topic] = value
                    self.wake(topic)
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))


def _payloads(topics: Iterable[str]) -> Iterable[str]:
    """Topics as few payloads; very many are told as `everything`."""
    text = SEPARATOR.join(topics)
    if len(text.encode()) <= PAYLOAD:
        return [text]
    return [EVERYTHING]
