"""A model that is opened when it is first asked: what is never asked need not be installed."""

from __future__ import annotations

from collections.abc import Callable

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.ports.model import Model, OnDelta


class OpenedLater:
    """Implements `ports.model.Model` over one that is not there yet."""

    def __init__(self, provider: str, open_model: Callable[[], Model]) -> None:
        self._provider = provider
        self._open = open_model
        self._model: Model | None = None

    @property
    def provider(self) -> str:
        return self._provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer as the model does; also raises what opening it raises, each time until it can be opened."""
        if self._model is None:
            self._model = self._open()
        return await self._model.reply(request, on_delta=on_delta)

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()
