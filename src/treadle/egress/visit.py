"""One connection of a call to the proxy: one request, answered or carried to the host that it names."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11

from treadle.domain.hosts import authority, host_name, is_address
from treadle.egress.allowed import Egress, Streams
from treadle.egress.client_hello import HANDSHAKE, read_hello
from treadle.egress.relay import CHUNK, Allowance, Meter, moving, tunnel
from treadle.egress.requests import Target, asked_for, onward
from treadle.errors import Refused

logger = logging.getLogger("treadle.egress")

_HEAD_BYTES = 32 * 1024
_REFUSED, _WRONG, _TOO_SLOW, _BROKEN, _NO_ANSWER = 403, 400, 408, 500, 502
_END_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the connections of one call may take."""

    at_once: int = 64
    in_all: int = 10_000
    carried_bytes: int = 1024 * 1024 * 1024
    head_seconds: float = 10.0
    """For a whole request, or a whole hello of TLS, to come."""
    idle_seconds: float = 60.0
    """Without a byte in either direction."""


class Visit:
    """Attends to one connection. `target`, `refused` and `meter` tell afterwards what it came to."""

    def __init__(self, client: Streams, egress: Egress, bounds: Bounds, allowance: Allowance) -> None:
        self._client = client
        self._egress = egress
        self._bounds = bounds
        self._http = _reader()
        self.target: Target | None = None
        self.refused = ""
        self.meter = Meter(allowance, bounds.idle_seconds)

    async def attend(self) -> None:
        """Do what the request asks for, or refuse it. Raises nothing that the other sides could bring about."""
        server: Streams | None = None
        try:
            request = await self._request()
            if request is None:
                return
            self.target = asked_for(request)
            server = await self._egress.connect(self.target.host, self.target.port)
            if request.method == b"CONNECT":
                await self._tunnel(self.target, server)
            else:
                await self._exchange(request, self.target, server)
        except Refused as error:
            await self._refuse(_REFUSED, error.with_hint)
        except (ValueError, h11.ProtocolError) as error:
            await self._refuse(_WRONG, f"Refused: {error}.")
        except TimeoutError:
            await self._refuse(_TOO_SLOW, "It took too long.")
        except OSError as error:
            await self._refuse(_NO_ANSWER, f"It does not answer: {error}.")
        except Exception as error:  # whatever somebody sends ends one connection, and no other
            logger.exception("A connection of a sandbox failed")
            await self._refuse(_BROKEN, f"The proxy failed: {type(error).__name__}.")
        finally:
            if server is not None:
                server[1].transport.abort()

    async def _request(self) -> h11.Request | None:
        """The head of the request; None if nothing came."""
        async with asyncio.timeout(self._bounds.head_seconds):
            event = await self._next()
        return event if isinstance(event, h11.Request) else None

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._client[0].read(CHUNK))
        return event

    async def _tunnel(self, target: Target, server: Streams) -> None:
        await self._say(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
        reader = self._client[0]
        async with asyncio.timeout(self._bounds.head_seconds):
            first = self._http.trailing_data[0] or await reader.read(CHUNK)
            if first[:1] == bytes([HANDSHAKE]):
                first, named = await _hello(reader, first)
                _refuse_other_name(named, target)
        if not first:
            return
        if first[0] != HANDSHAKE:
            await self._plain_in_tunnel(first, target, server)
            return
        server[1].write(first)
        self.meter.on_sent(len(first))
        with suppress(ConnectionError):  # a side that breaks off was reached all the same
            await tunnel(self._client, server, self.meter)

    async def _plain_in_tunnel(self, first: bytes, target: Target, server: Streams) -> None:
        """Some clients ask for http:// by CONNECT as well: the request has to be for the host of the tunnel."""
        self._http = _reader()
        self._http.receive_data(first)
        request = await self._request()
        if request is not None:
            await self._exchange(request, asked_for(request, target), server)

    async def _exchange(self, request: h11.Request, target: Target, server: Streams) -> None:
        """Put the request together anew and carry it over, and the answer back: nothing can follow it unseen."""
        away = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        host = (b"host", authority(target.host, target.port, default=80).encode())
        head = h11.Request(method=request.method, target=target.path, headers=[host, *onward(request.headers)])
        async with moving(self.meter) as group:
            await self._send(away, server, head)
            body = group.create_task(self._carry_body(away, server))
            await self._carry_answer(away, server)
            body.cancel()

    async def _carry_body(self, away: h11.Connection, server: Streams) -> None:
        while not isinstance(event := await self._next(), h11.ConnectionClosed):
            await self._send(away, server, event)
            if isinstance(event, h11.EndOfMessage):
                return

    async def _send(self, away: h11.Connection, server: Streams, event: Any) -> None:
        data = away.send(event) or b""
        self.meter.on_sent(len(data))
        server[1].write(data)
        await server[1].drain()

    async def _carry_answer(self, away: h11.Connection, server: Streams) -> None:
        while True:
            event = away.next_event()
            if event is h11.NEED_DATA:
                data = await server[0].read(CHUNK)
                self.meter.on_received(len(data))
                away.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code != 101:
                    await self._say(h11.InformationalResponse(status_code=event.status_code, headers=event.headers))
            elif isinstance(event, h11.Response):
                head = onward(event.headers)
                await self._say(h11.Response(status_code=event.status_code, headers=head, reason=event.reason))
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                await self._say(event)
                if isinstance(event, h11.EndOfMessage):
                    return
            else:
                raise ConnectionError("it broke off")

    async def _say(self, event: Any) -> None:
        self._client[1].write(self._http.send(event) or b"")
        await self._client[1].drain()

    async def _refuse(self, status: int, why: str) -> None:
        """Note why, and tell it where an answer can still be given."""
        self.refused = "".join(char if char.isprintable() else "?" for char in why)
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = f"{self.refused}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
        head = h11.Response(
            status_code=status,
            headers=[*headers, ("Connection", "close")],
            reason=self.refused[:200].encode("ascii", "replace"),
        )
        with suppress(OSError, h11.ProtocolError):
            async with asyncio.timeout(_END_SECONDS):
                for event in (head, h11.Data(data=text), h11.EndOfMessage()):
                    await self._say(event)

    async def leave(self) -> None:
        """Let the client read what was said to it, and end the connection."""
        reader, writer = self._client
        with suppress(OSError):
            async with asyncio.timeout(_END_SECONDS):
                if writer.can_write_eof():
                    writer.write_eof()
                left = CHUNK
                while left > 0 and (data := await reader.read(CHUNK)):
                    left -= len(data)  # what nobody reads would make the kernel throw away what we said
        writer.transport.abort()


def _reader() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)


async def _hello(reader: asyncio.StreamReader, first: bytes) -> tuple[bytes, str]:
    try:
        return await read_hello(reader, first)
    except ValueError as error:
        raise ValueError(f"the TLS in the tunnel cannot be followed: {error}") from None


def _refuse_other_name(named: str, target: Target) -> None:
    """TLS names the host that it wants, except where the target is a bare address."""
    if (not named and is_address(target.host)) or (named and host_name(named) == target.host):
        return
    raise ValueError(f"TLS asks for {named or 'no host'}, and the tunnel leads to {target.host}")
