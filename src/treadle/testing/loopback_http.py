"""A small HTTP server on loopback that does what a test says, byte by byte: it can behave as badly as real ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Exchange:
    """One request, and the connection to answer it on."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _is_streaming: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def begin(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        """Send the head; the body follows in chunks. Underscores in names of headers become hyphens."""
        lines = [f"HTTP/1.1 {status} -", f"Content-Type: {content_type}", "Transfer-Encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        self._is_streaming = True

    async def send(self, data: bytes, *, by: int = 0) -> None:
        """Send a piece of the body as one chunk, or as chunks of `by` bytes."""
        for start in range(0, len(data), by or len(data) or 1):
            piece = data[start : start + by] if by else data
            self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self._writer.drain()

    async def end(self) -> None:
        """Say that the body is complete."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def whole(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        """Send a whole answer."""
        self.begin(status, content_type, **headers)
        await self.send(body)
        await self.end()

    async def flush(self) -> None:
        await self._writer.drain()

    def cut(self) -> None:
        """Break the connection without a word."""
        self._writer.transport.abort()

    async def hung_up(self) -> None:
        """Wait until the client closes the connection."""
        with suppress(ConnectionError):
            while await self._reader.read(4096):
                pass


Play = Callable[[Exchange], Awaitable[None]]


@dataclass(slots=True)
class LoopbackServer:
    """Plays `play` for each request. Use it as an async context manager; leaving it waits for nothing."""

    play: Play
    asked: list[Exchange] = field(default_factory=list)
    url: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def __aenter__(self) -> LoopbackServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (exchange := await _read(reader, writer)) is not None:
                self.asked.append(exchange)
                await self.play(exchange)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Exchange(method, path, headers, body, reader, writer)
