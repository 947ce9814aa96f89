"""The pool as an HTTP endpoint that speaks OpenAI's chat completions. A client that goes away cancels its request."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import TreadleError, UsageError
from treadle.pool import wire
from treadle.pool.pool import Pool

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]

MAX_BODY_BYTES = 64 * 1024 * 1024
_QUIET_S = 15.0
"""A stream whose request still waits is begun after this long, with comments that keep the connection alive."""
_GONE = 499
"""The client went away; nobody sees it but a log."""


def application(pool: Pool, key: str) -> Starlette:
    """Make the ASGI application. Every request needs `key` as its bearer token; "" lets everybody in."""
    face = _Endpoint(pool, key)
    return Starlette(
        routes=[
            Route("/health", face.health),
            Route("/v1/models", face.guarded(face.models)),
            Route("/v1/chat/completions", face.guarded(face.chat), methods=["POST"]),
            Route("/v1/pool", face.guarded(face.now)),
            Route("/v1/pool/log", face.guarded(face.log)),
            Route("/v1/pool/expect", face.guarded(face.expect), methods=["POST"]),
        ]
    )


class _Endpoint:
    def __init__(self, pool: Pool, key: str) -> None:
        self._pool = pool
        self._key = key.encode()

    def guarded(self, handler: Handler) -> Handler:
        """Ask for the key, and turn errors into answers."""

        async def handle(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
            if self._key and not hmac.compare_digest(given.encode(), self._key):
                message = "The API key is missing or wrong. Send it as `Authorization: Bearer KEY`."
                body = {"error": {"message": message, "type": "authentication_error", "code": "invalid_api_key"}}
                return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
            try:
                return await handler(request)
            except TreadleError as error:
                return _failed(error)
            except ClientDisconnect:
                return Response(status_code=_GONE)

        return handle

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        """Models, tiers and agent pools: whatever a request may name."""
        names = self._pool.names()
        return JSONResponse(
            {
                "object": "list",
                "data": [{"id": name, "object": "model", "created": 0, "owned_by": "treadle"} for name in names],
            }
        )

    async def now(self, request: Request) -> Response:
        return _encoded(self._pool.now())

    async def log(self, request: Request) -> Response:
        return _encoded(self._pool.log(request.query_params.get("pool")))

    async def expect(self, request: Request) -> Response:
        """Take in what a worker's graph says will be asked: `{"model": ..., "within_s": 5, "count": 1}`."""
        body = await _body(request)
        name, within, count = body.get("model"), body.get("within_s", 0), body.get("count", 1)
        numbers = isinstance(within, int | float) and isinstance(count, int) and 0 <= within < 86400 and count > 0
        if not isinstance(name, str) or not numbers:
            raise UsageError('Expected {"model": NAME, "within_s": SECONDS, "count": NUMBER}.')
        self._pool.expect(name, within_seconds=float(within), count=count)
        return JSONResponse({"status": "ok"})

    async def chat(self, request: Request) -> Response:
        body = await _body(request)
        asked = wire.read_request(body)
        model = self._pool.interactive() if wire.is_interactive(body) else self._pool
        number, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        if not body.get("stream"):
            reply = await _unless_gone(request, model.reply(asked))
            return _encoded(wire.completion(reply, number, created))
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        answering = asyncio.ensure_future(model.reply(asked, on_delta=pieces.put_nowait))
        answering.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            first = await _unless_gone(request, _first(pieces, answering))
        except BaseException:
            answering.cancel()
            raise
        options = body.get("stream_options")
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        stream = _Stream(asked, answering, pieces, number, created, with_usage)
        return _Cancelling(stream.lines(first), answering, request)


class _Stream:
    """Server-sent events of one answer."""

    def __init__(
        self,
        asked: ModelRequest,
        answering: asyncio.Future[ModelReply],
        pieces: asyncio.Queue[str | None],
        number: str,
        created: int,
        with_usage: bool,
    ) -> None:
        self._asked = asked
        self._answering = answering
        self._pieces = pieces
        self._number = number
        self._created = created
        self._with_usage = with_usage

    async def lines(self, first: str | None) -> AsyncIterator[bytes]:
        opening: dict[str, Any] = {"role": "assistant", "content": ""}
        yield _event(wire.chunk(self._asked.model, self._number, self._created, opening))
        piece = first
        while piece is not None:
            if piece:
                yield _event(wire.chunk(self._asked.model, self._number, self._created, {"content": piece}))
            elif not self._answering.done():
                yield b": waiting\n\n"
            piece = await _next(self._pieces)
        try:
            reply = await self._answering
        except TreadleError as error:
            yield _event(wire.failure(error)[1])
            return
        for chunk in wire.last_chunks(reply, self._number, self._created, with_usage=self._with_usage):
            yield _event(chunk)
        yield b"data: [DONE]\n\n"


class _Cancelling(StreamingResponse):
    """A stream that stops the work behind it, however it ends."""

    def __init__(self, lines: AsyncIterator[bytes], answering: asyncio.Future[ModelReply], request: Request) -> None:
        super().__init__(lines, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._answering = answering
        self._request = request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await _unless_gone(self._request, self.stream_response(send))
        except (ClientDisconnect, OSError):
            pass
        finally:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)


async def _first(pieces: asyncio.Queue[str | None], answering: asyncio.Future[ModelReply]) -> str | None:
    """Wait for the first piece, so that an error before it has a status of its own; "" if that takes long."""
    piece = await _next(pieces)
    if piece is None:
        answering.result()
    return piece


async def _next(pieces: asyncio.Queue[str | None]) -> str | None:
    try:
        return await asyncio.wait_for(pieces.get(), _QUIET_S)
    except TimeoutError:
        return ""


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Wait for the work; if the client goes away first, cancel it. Raises ClientDisconnect."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.wait([working, gone])


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> dict[str, Any]:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY_BYTES:
            raise UsageError(f"The body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB; nothing was asked.")
    try:
        body = json.loads(bytes(data))
    except (ValueError, RecursionError) as exc:
        raise UsageError("The body is no JSON; nothing was asked.") from exc
    if not isinstance(body, dict):
        raise UsageError("The body is no JSON object; nothing was asked.")
    return body


def _failed(error: TreadleError) -> Response:
    status, body, headers = wire.failure(error)
    return JSONResponse(body, status, headers)


def _encoded(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
