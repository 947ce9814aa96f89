"""What every wrapper begins as: a model that passes everything on to another one."""

from __future__ import annotations

import asyncio

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.ports.model import Model, OnDelta

BEGUN_ANEW = "\n\n[broke off; asked again]\n\n"
"""Shown where text that was seen already does not count any more."""


class Wrapper:
    """Implements `ports.model.Model` over another one; a subclass changes `reply`. Closing it closes the inner one."""

    def __init__(self, inner: Model) -> None:
        self._inner = inner

    @property
    def provider(self) -> str:
        return self._inner.provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        return await self._inner.reply(request, on_delta=on_delta)

    async def close(self) -> None:
        await self._inner.close()


class Shown:
    """Passes text on, and knows whether somebody has seen any of it."""

    def __init__(self, on_delta: OnDelta | None) -> None:
        self._on_delta = on_delta
        self.something = False

    @property
    def on_delta(self) -> OnDelta | None:
        """For the inner model. None where nobody looks, so that an adapter need not stream."""
        return self._pass_on if self._on_delta is not None else None

    def begin_anew(self) -> None:
        """Say that what was seen does not count any more, if there was anything."""
        if self.something and self._on_delta is not None:
            self._on_delta(BEGUN_ANEW)

    def _pass_on(self, piece: str) -> None:
        assert self._on_delta is not None
        self.something = self.something or bool(piece)
        self._on_delta(piece)


def now() -> float:
    """Seconds that only ever go on, whatever happens to the machine's clock."""
    return asyncio.get_running_loop().time()
