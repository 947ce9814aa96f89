"""One connection to one server: made when it is first needed, and again after it was lost. Never waits without end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from importlib.metadata import version
from typing import Any, Protocol

from mcp import Client, MCPError
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT, Implementation

from treadle.errors import McpUnavailable, SandboxUnavailable, TreadleError
from treadle.settings import McpServer
from treadle.tools.mcp.offers import clean

IDLE_SECONDS = 1800.0
"""A server that nobody asks for so long is left; the next call starts or reaches it again."""
_PAGES = 50
_TOOLS = 500
_LEAVE_SECONDS = 5.0
_GRACE_SECONDS = 5.0
"""The SDK keeps the time of a call; this is how much longer we wait for it."""


class Link(Protocol):
    """A way to a server."""

    lost: asyncio.Event

    def streams(self) -> AbstractAsyncContextManager[Any]: ...
    async def why(self) -> str: ...


class BrokenOff(Exception):
    """The answer to a call does not come: the connection was lost, or it took too long. The words say which."""


class Told(Exception):
    """The server says that it will not or cannot do it, or what it says cannot be understood."""


class Connection:
    """Holds the SDK's client in a task of its own, so that whoever calls may come and go."""

    def __init__(self, server: McpServer, open_link: Callable[[], Link], hide: Callable[[str], str]) -> None:
        """`hide` takes secrets out of what is shown."""
        self._server = server
        self._open_link = open_link
        self._hide = hide
        self._link: Link | None = None
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def tools(self) -> list[dict[str, Any]]:
        """All tools as they came over the wire.

        Raises:
            McpUnavailable: It could not be started or reached, or gives no usable answer.
        """
        client, found, cursor = await self._connected(), [], None
        try:
            async with asyncio.timeout(self._server.start_seconds):
                for _ in range(_PAGES):
                    page = await client.list_tools(cursor=cursor, cache_mode="bypass")
                    found += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
                    cursor = page.next_cursor
                    if cursor is None or len(found) > _TOOLS:
                        break
        except TimeoutError:
            raise self._unavailable(f"it did not list its tools within {self._server.start_seconds:g} s") from None
        except Exception as error:  # noqa: BLE001  # whatever a server can make the SDK raise
            raise self._unavailable(await self._reason(error)) from None
        finally:
            self._rest()
        if len(found) > _TOOLS or cursor is not None:
            raise self._unavailable(f"it lists more than {min(_TOOLS, len(found))} tools, or has no end of pages")
        return found

    async def call(
        self, tool: str, args: Mapping[str, Any], *, meta: Mapping[str, Any], on_progress: Any = None
    ) -> dict[str, Any]:
        """Call a tool; returns the answer as it came over the wire. Cancelling it tells the server so.

        Raises:
            McpUnavailable: It could not be started or reached. The call was not made.
            BrokenOff: It may have been made; nobody knows.
            Told: It was not made, or came to nothing that can be read.
        """
        client, seconds = await self._connected(), self._server.timeout_seconds
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                result = await client.call_tool(
                    tool,
                    dict(args),
                    seconds,
                    on_progress,
                    meta=dict(meta) if meta else None,  # type: ignore[arg-type]
                )
        except TimeoutError:
            await self._drop()
            raise BrokenOff(f"it took longer than {seconds:g} s") from None
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise BrokenOff(f"it took longer than {seconds:g} s and was told to stop") from None
            if error.code == CONNECTION_CLOSED or self._is_lost():
                raise BrokenOff(await self._reason(error)) from None
            raise Told(await self._reason(error)) from None
        except Exception as error:  # noqa: BLE001  # whatever a server can make the SDK raise
            if self._is_lost():
                raise BrokenOff(await self._reason(error)) from None
            raise Told(f"its answer is wrong: {self._hide(clean(str(error), 400))}") from None
        finally:
            self._rest()
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def close(self) -> None:
        """Leave it. Idempotent."""
        self._wake()
        async with self._connecting:
            await self._drop()

    async def _connected(self) -> Client:
        async with self._connecting:
            self._wake()
            if self._client is None or self._is_lost():
                await self._drop()
                await self._connect()
            assert self._client is not None
            return self._client

    async def _connect(self) -> None:
        self._link, self._leave = self._open_link(), asyncio.Event()
        started: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._hold(self._link, started, self._leave))
        self._task.add_done_callback(lambda task: task.cancelled() or task.exception())
        either: set[asyncio.Future[Any]] = {started, self._task}
        await asyncio.wait(either, timeout=self._server.start_seconds, return_when="FIRST_COMPLETED")
        if started.done():
            self._client = started.result()
            return
        task, link = self._task, self._link
        in_time = task.done()
        why = await link.why()
        await self._drop()
        error = None if not in_time or task.cancelled() else task.exception()
        if isinstance(error, SandboxUnavailable):
            raise SandboxUnavailable(f"The MCP server {self._server.name!r} was not started. {error}", hint=error.hint)
        if isinstance(error, TreadleError):
            raise error
        if not in_time:
            why = f"it did not answer within {self._server.start_seconds:g} s{f' ({why})' if why else ''}"
        raise self._unavailable(why or (_innermost(error) if error else "it ended the connection"))

    async def _hold(self, link: Link, started: asyncio.Future[Client], leave: asyncio.Event) -> None:
        """Enter and leave the SDK's client in one task, as it wants it."""
        info = Implementation(name="treadle", version=version("treadle"))
        async with Client(link.streams(), cache=None, client_info=info) as client:
            started.set_result(client)
            ends = [asyncio.create_task(event.wait()) for event in (leave, link.lost)]
            try:
                await asyncio.wait(ends, return_when="FIRST_COMPLETED")
            finally:
                for end in ends:
                    end.cancel()

    def _wake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest(self) -> None:
        """Leave it if nobody wants anything for a long time."""
        self._wake()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(IDLE_SECONDS + self._server.timeout_seconds, self._leave.set)

    def _is_lost(self) -> bool:
        gone = self._task is None or self._task.done() or self._leave.is_set()
        return gone or self._link is None or self._link.lost.is_set()

    async def _drop(self) -> None:
        task, self._task, is_up, self._client = self._task, None, self._client is not None, None
        if task is None:
            return
        self._leave.set()
        if is_up:
            await asyncio.wait([task], timeout=_LEAVE_SECONDS)
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task

    async def _reason(self, error: Exception) -> str:
        why = (
            await self._link.why()
            if self._link is not None and (self._is_lost() or "error response" in str(error))
            else ""
        )
        if not why and self._task is not None and self._task.done() and not self._task.cancelled():
            broke = self._task.exception()
            why = _innermost(broke) if broke is not None else ""
        return self._hide(why or clean(str(error), 1000))

    def _unavailable(self, why: str) -> McpUnavailable:
        where = f" of {self._server.file}" if self._server.file else ""
        return McpUnavailable(
            f"The MCP server {self._server.name!r}{where} cannot be used: {self._hide(why)}.",
            hint="`treadle tools list` tries again; [mcp.servers] says how it is started or reached.",
        )


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {clean(str(error), 400)}".removesuffix(": ")
