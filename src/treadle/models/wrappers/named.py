"""A model under the name that the inventory has for it, with what its answers cost."""

from __future__ import annotations

from dataclasses import replace

from treadle.domain.inventory import ModelEntry
from treadle.domain.messages import ModelReply, ModelRequest
from treadle.models.wrappers.wrapper import Wrapper
from treadle.ports.model import Model, OnDelta, Pricing


class Named(Wrapper):
    """Asks a service for one model of the inventory, by the service's own name for it. Whatever the request names."""

    def __init__(self, inner: Model, entry: ModelEntry) -> None:
        super().__init__(inner)
        self._entry = entry

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        reply = await self._inner.reply(replace(request, model=self._entry.served_as), on_delta=on_delta)
        return replace(reply, model=self._entry.name)


class Priced(Wrapper):
    """Says of each answer what it cost."""

    def __init__(self, inner: Model, pricing: Pricing | None) -> None:
        """`pricing`: None where the price is not known."""
        super().__init__(inner)
        self._pricing = pricing

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        reply = await self._inner.reply(request, on_delta=on_delta)
        if self._pricing is None or reply.cost is not None:  # what the cache has costs nothing
            return reply
        return replace(reply, cost=self._pricing(reply.usage, reply.seconds))
