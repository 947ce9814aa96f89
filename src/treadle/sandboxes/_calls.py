"""The calls of one sandbox that are still running, so that closing it can end them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult


class Calls:
    """Runs calls as tasks of their own: closing cancels the call and not the caller."""

    def __init__(self) -> None:
        self._closed = False
        self._running: set[asyncio.Task[ExecResult]] = set()

    async def run(self, call: Coroutine[Any, Any, ExecResult]) -> ExecResult:
        """Await one call. Cancelling the caller cancels the call and waits for its end.

        Raises:
            SandboxUnavailable: The sandbox was closed before or during the call.
        """
        if self._is_closed():
            call.close()
            raise SandboxUnavailable("The sandbox is closed; the command did not run.", hint="Open another one.")
        task = asyncio.ensure_future(call)
        self._running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self._is_closed() and not (current and current.cancelling()):
                raise SandboxUnavailable(
                    "The sandbox was closed while the command ran.", hint="Open another one."
                ) from None
            raise
        finally:
            self._running.discard(task)

    def _is_closed(self) -> bool:
        return self._closed

    async def close(self) -> None:
        """End all calls and refuse new ones. Idempotent."""
        self._closed = True
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
