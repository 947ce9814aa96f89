"""Give the same answer to the same request, from a folder. Only where it is asked for."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from treadle.domain.messages import ModelReply, ModelRequest, Usage
from treadle.models.wrappers.wrapper import Wrapper
from treadle.ports.model import Model, OnDelta


class Cached(Wrapper):
    """Keeps each answer in a file named by its request, sampling and seed included.

    Any number of processes may share the folder: a file is whole or not there. One that cannot be read or written is
    as good as none. An answer from the cache took no tokens and no time, and cost nothing.
    """

    def __init__(self, inner: Model, folder: Path) -> None:
        super().__init__(inner)
        self._folder = folder

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer from the folder, else as the inner model does. Only whole answers are kept."""
        place = self._place(request)
        known = await asyncio.to_thread(_read, place)
        if known is not None:
            if on_delta is not None and known.text:
                on_delta(known.text)
            return replace(known, usage=Usage(), seconds=0.0, cost=0.0)
        reply = await self._inner.reply(request, on_delta=on_delta)
        if reply.finish_reason not in ("cancelled", "refused"):
            await asyncio.to_thread(_write, place, reply)
        return reply

    def _place(self, request: ModelRequest) -> Path:
        name = f"{request.digest()}.json"
        return self._folder / self.provider / name[:2] / name


def _read(place: Path) -> ModelReply | None:
    try:
        return msgspec.json.decode(place.read_bytes(), type=ModelReply)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None


def _write(place: Path, reply: ModelReply) -> None:
    """Put a whole file in its place at once. Answers are the user's own business, so nobody else may read them."""
    made = place.with_name(f".{place.stem[:16]}-{secrets.token_hex(4)}")
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(reply))
            made.replace(place)
        finally:
            made.unlink(missing_ok=True)
