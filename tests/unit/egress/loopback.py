"""A proxy and the hosts that it may reach, all on loopback; names are answered by the test, never by a name server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from treadle.egress.allowed import Egress, Streams
from treadle.egress.proxy import Proxy
from treadle.egress.visit import Bounds
from treadle.ports.sandbox import Contact

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@dataclass
class Host:
    """A server that keeps what it was sent, and says the same to everybody."""

    port: int
    answer: bytes = ANSWER
    heard: list[bytes] = field(default_factory=list)
    """What each connection sent, up to its end."""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Something was sent."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection has ended."""

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self.heard)
        self.heard.append(b"")
        try:
            while data := await reader.read(4096):
                self.heard[place] += data
                self.began.set()
                if b"\r\n\r\n" in self.heard[place] and self.answer:
                    writer.write(self.answer)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.ended.set()


@asynccontextmanager
async def a_host(answer: bytes = ANSWER, address: str = "127.0.0.1") -> AsyncIterator[Host]:
    host = Host(0, answer)
    server = await asyncio.start_server(host.attend, address, 0)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


@dataclass
class Names:
    """A name server: each name has its answers, one after the other; the last one stays."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host, [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass
class Served:
    """A proxy that listens, as a sandbox would find it."""

    proxy: Proxy
    port: int
    serving: asyncio.Task[None]

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, data: bytes) -> bytes:
        """Send bytes, read until the other side ends the connection."""
        reader, writer = await self.connect()
        writer.write(data)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def contacts(self) -> tuple[Contact, ...]:
        """Whom it was asked for, once it has ended."""
        self.serving.cancel()
        await asyncio.wait([self.serving])
        return self.proxy.contacts


@asynccontextmanager
async def a_proxy(egress: Egress, bounds: Bounds | None = None) -> AsyncIterator[Served]:
    proxy = Proxy(egress, bounds)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.ensure_future(proxy.serve(listener))
        yield Served(proxy, listener.getsockname()[1], serving)
        serving.cancel()
        await asyncio.wait([serving])


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])
