"""A server behind two pipes: lines of JSON-RPC from and to a process in a sandbox. It may send anything at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCResponse, jsonrpc_message_adapter

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Process
from treadle.tools.mcp.offers import clean

LINE_BYTES = 16 * 1024 * 1024
ODD_LINES = 100
"""Lines that are no JSON-RPC: some servers print what they should log. After so many it is no server."""
UNASKED_MESSAGES = 10_000
"""Messages between two answers."""
_LAST_WORDS = 600
_END_SECONDS = 1.0
_NOT_FOUND = (126, 127)


class PipeLink:
    """Streams as the SDK wants them, over a process that is started when they are opened."""

    def __init__(self, start: Callable[[], Awaitable[Process]], command: str) -> None:
        self.lost = asyncio.Event()
        """Nothing more comes."""
        self._start = start
        self._command = command
        self._process: Process | None = None
        self._trouble = ""
        self._odd: list[str] = []
        self._unasked = 0

    async def why(self) -> str:
        """What is known of how it was lost, in words; empty if nothing is."""
        if self._trouble or self._process is None:
            return self._trouble
        try:
            async with asyncio.timeout(_END_SECONDS):
                result = await self._process.wait()
        except TimeoutError:
            said = self._last_words(self._process.stderr())
            return f"it does not answer{said}" if said else ""
        except SandboxUnavailable as error:
            return str(error)
        return self._ended(result)

    @contextlib.asynccontextmanager
    async def streams(self) -> AsyncIterator[Any]:
        """Start the process; it is ended with the streams."""
        self._process = process = await self._start()
        to_session, from_process = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_process, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        try:
            async with to_session, from_process, to_process, from_session, anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, process, to_session)
                tasks.start_soon(self._write, process, from_session, to_session)
                try:
                    yield from_process, to_process
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await process.end()

    async def _read(self, process: Process, session: Any) -> None:
        line = bytearray()
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while not self._trouble and (data := await process.read()):
                first, *rest = data.split(b"\n")
                line += first
                for more in rest:
                    await self._deliver(bytes(line), session)
                    line = bytearray(more)
                if len(line) > LINE_BYTES:
                    self._trouble = f"it sent a line of more than {LINE_BYTES // 2**20} MiB"
        self.lost.set()
        await session.aclose()

    async def _deliver(self, line: bytes, session: Any) -> None:
        if self._trouble or not line.strip():
            return
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            self._odd.append(clean(line[:400].decode(errors="replace"), 200))
            if len(self._odd) > ODD_LINES:
                self._trouble = f"what it sends is not the protocol; it began with {self._odd[0]!r}"
            return
        is_answer = isinstance(message, JSONRPCResponse | JSONRPCError)
        self._unasked = 0 if is_answer else self._unasked + 1
        if self._unasked > UNASKED_MESSAGES:
            self._trouble = f"it sent {UNASKED_MESSAGES} messages that nobody asked for"
            return
        await session.send(SessionMessage(message))

    async def _write(self, process: Process, messages: Any, session: Any) -> None:
        try:
            async for message in messages:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.write(text.encode() + b"\n")
        except (BrokenPipeError, ConnectionError, anyio.ClosedResourceError):
            self.lost.set()
            await session.aclose()

    def _ended(self, result: ExecResult) -> str:
        if result.exit_code in _NOT_FOUND and not self._odd:
            return f"there is no program {self._command!r} that the sandbox can run{self._last_words(result.stderr)}"
        how = "it used more memory than it may and was ended" if result.out_of_memory else "it ended"
        return f"{how} with code {result.exit_code}{self._last_words(result.stderr)}"

    def _last_words(self, stderr: str) -> str:
        said = clean(stderr, 100_000)[-_LAST_WORDS:].strip() or (self._odd[-1] if self._odd else "")
        return f"; it said: {said}" if said else ""
