"""A proxy before a PostgreSQL server that hangs up instead of passing an answer on."""

from __future__ import annotations

import asyncio
from random import Random

from treadle.testing.postgres import Server

SYNC = b"S\0\0\0\4"
PARSE = b"P"


class Proxy:
    """Between a store and its server: passes everything on until told to lose an answer.

    It sees statements only where none is cached: `statement_cache_size=0`.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.losing = ""
        """Hang up when the server answers a statement that says this."""
        self.chance = 1.0
        """How likely it is then. Below 1 it goes on losing; otherwise it stops after the first."""
        self.lost = 0
        self._random = Random(1)
        self._listener: asyncio.Server | None = None

    async def open(self, host: str = "127.0.0.1") -> str:
        """Listen; returns the URL of the store behind it."""
        self._listener = await asyncio.start_server(self._meet, host, 0)
        port = self._listener.sockets[0].getsockname()[1]
        return f"postgresql://postgres@{host}:{port}/postgres"

    async def close(self) -> None:
        assert self._listener is not None
        self._listener.close()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = f"{self._server.folder}/.s.PGSQL.5432"
        try:
            back, forth = await asyncio.open_unix_connection(path)
        except OSError:  # the server is away
            writer.close()
            return
        doomed = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._asks(reader, forth, doomed))
                group.create_task(self._answers(back, writer, doomed))
        except* (OSError, EOFError):
            pass
        finally:
            writer.close()
            forth.close()

    async def _asks(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        prepared = False
        while data := await source.read(1 << 16):
            if data.startswith(PARSE):
                prepared = False
            if self.losing and self.losing.encode() in data:
                prepared = True
            if prepared and data.endswith(SYNC) and self.losing and self._random.random() < self.chance:
                doomed.set()  # this is what makes the server do it
            to.write(data)
            await to.drain()
        raise EOFError

    async def _answers(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await source.read(1 << 16):
            if doomed.is_set():
                self.lost += 1
                if self.chance >= 1:
                    self.losing = ""
                raise EOFError  # it has been done, and nobody will hear of it
            to.write(data)
            await to.drain()
        raise EOFError
