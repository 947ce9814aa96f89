"""Carries bytes between a call and a host, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from treadle.egress.allowed import Streams
from treadle.errors import Refused

CHUNK = 64 * 1024


class Allowance:
    """The bytes that a call may still carry, by all its connections and in both directions."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def spend(self, count: int) -> None:
        """Raises Refused where it is spent."""
        self._left -= count
        if self._left < 0:
            raise Refused(f"The command has carried {self._limit} bytes over the network, and may carry no more.")


@dataclass(slots=True)
class Meter:
    """Counts what one connection carries; while it carries something, its deadline moves on."""

    allowance: Allowance
    idle_seconds: float
    sent: int = 0
    received: int = 0
    deadline: asyncio.Timeout | None = None

    def on_sent(self, count: int) -> None:
        """Raises Refused where too much was carried."""
        self.sent += count
        self._moved(count)

    def on_received(self, count: int) -> None:
        """Raises Refused where too much was carried."""
        self.received += count
        self._moved(count)

    def _moved(self, count: int) -> None:
        self.allowance.spend(count)
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(asyncio.get_running_loop().time() + self.idle_seconds)


@asynccontextmanager
async def moving(meter: Meter) -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks that carry something. The first error ends all, and is raised as it is.

    Raises:
        TimeoutError: Nothing was carried for the idle time.
    """
    async with asyncio.timeout(meter.idle_seconds) as meter.deadline:
        try:
            async with asyncio.TaskGroup() as group:
                yield group
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None


async def tunnel(client: Streams, server: Streams, meter: Meter) -> None:
    """Carry bytes in both directions until both sides have ended.

    Raises:
        TimeoutError: Nothing was carried for the idle time.
        Refused: Too much was carried.
        ConnectionError: A side broke off.
    """
    async with moving(meter) as group:
        group.create_task(_pump(client[0], server[1], meter.on_sent))
        group.create_task(_pump(server[0], client[1], meter.on_received))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    while data := await source.read(CHUNK):
        count(len(data))
        sink.write(data)
        await sink.drain()
    with suppress(OSError):  # who has gone needs no telling
        sink.write_eof()
