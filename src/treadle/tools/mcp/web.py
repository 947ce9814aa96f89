"""A server behind a URL: streamable HTTP, with the headers that are configured and nothing else of the user's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from treadle.settings import McpServer

ANSWER_BYTES = 64 * 1024 * 1024
_CONNECT_SECONDS = 15.0


class WebLink:
    """Streams as the SDK wants them, over HTTP requests."""

    def __init__(self, server: McpServer) -> None:
        """`server`: with its variables put in."""
        self.lost = asyncio.Event()
        """Nothing more comes. HTTP requests fail one by one, so only an ended session sets it."""
        self._server = server
        self._status = 0
        self._asks_for = ""
        self._trouble = ""

    async def why(self) -> str:
        """What is known of how it was lost, in words; empty if nothing is."""
        if self._trouble or not self._status:
            return self._trouble
        name = HTTPStatus(self._status).phrase if self._status in set(HTTPStatus) else ""
        return f"{self._server.url} answered {self._status} {name}".rstrip() + self._what_to_set()

    @contextlib.asynccontextmanager
    async def streams(self) -> AsyncIterator[Any]:
        timeout = httpx2.Timeout(_CONNECT_SECONDS, read=self._server.timeout_seconds + _CONNECT_SECONDS)
        headers = {**self._server.headers, "Accept-Encoding": "identity"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout, event_hooks={"response": [self._seen]}) as client,
            streamable_http_client(self._server.url, http_client=client) as streams,
        ):
            yield streams

    async def _seen(self, response: httpx2.Response) -> None:
        """Look at each answer before it is read."""
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            self._status = response.status_code
            self._asks_for = response.headers.get("www-authenticate", "")[:200]
        if response.status_code == HTTPStatus.NOT_FOUND and "mcp-session-id" in response.request.headers:
            self.lost.set()  # the server has forgotten the session: another one is begun with the next call
        if response.headers.get("content-encoding", "identity") != "identity":
            self._trouble = f"{self._server.url} packs its answers, which was not asked for"
            raise httpx2.DecodingError(self._trouble)
        response.stream = _Bounded(response.stream, self)

    def too_long(self) -> None:
        self._trouble = f"{self._server.url} sent more than {ANSWER_BYTES // 2**20} MiB in one answer"

    def _what_to_set(self) -> str:
        if self._status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ""
        if self._server.token_env:
            return f": it does not take the token that {self._server.token_env} holds"
        if any(name.lower() == "authorization" for name in self._server.headers):
            return ": it does not take the Authorization header that is configured"
        asked = f" ({self._asks_for})" if self._asks_for else ""
        name = f"{self._server.name.upper().replace('-', '_')}_TOKEN"
        return f"{asked}: set token_env to the name of a variable with its token, such as {name}, or set headers"


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, up to a length."""

    def __init__(self, stream: Any, link: WebLink) -> None:
        self._stream = stream
        self._link = link

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._stream:
            seen += len(chunk)
            if seen > ANSWER_BYTES:
                self._link.too_long()
                raise httpx2.ReadError("The answer is too long.")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
