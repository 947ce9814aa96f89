"""Wake-ups: at once for what this process wrote, soon for what another did (a look at SQLite's change counter)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from treadle.errors import TreadleError
from treadle.stores import wake

LOOK_SECONDS = 0.05


class Wake(wake.Wake):
    """Wakes for every commit of another process: what it changed is not known."""

    def __init__(self, data_version: Callable[[], Awaitable[int]]) -> None:
        super().__init__()
        self._data_version = data_version
        self._looker: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop looking; whoever waits is woken."""
        if self._looker is not None:
            self._looker.cancel()
            await asyncio.gather(self._looker, return_exceptions=True)
            self._looker = None
        self.wake_all()

    def _watch(self) -> None:
        if self._looker is None or self._looker.done():
            self._looker = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        """While anybody waits, look whether another process has committed."""
        try:
            seen = await self._data_version()
            while self._is_waited_for():
                await asyncio.sleep(LOOK_SECONDS)
                now = await self._data_version()
                if now != seen:
                    seen = now
                    self.wake_all()
        except TreadleError:
            return  # the store was closed under us; polling goes on by itself
