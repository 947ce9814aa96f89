"""A model server whose memory is counted to the byte, and which refuses what a real one could not do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from treadle.domain.inventory import ModelEntry
from treadle.domain.messages import Message, ModelReply, ModelRequest, Usage
from treadle.errors import ModelUnavailable, TreadleError, UnknownName
from treadle.ports.model import OnDelta
from treadle.ports.model_server import Memory, OnNote, Resident

GB = 1_000_000_000


def entry(name: str, gb: float | None = None, service: str = "box.gpu") -> ModelEntry:
    return ModelEntry(name, service, served_as=f"{name}@served", size_gb=gb)


def ask(model: str, text: str = "hello") -> ModelRequest:
    return ModelRequest(model, (Message("user", text),))


class LoopbackServer:
    """Implements `ports.model_server.ModelServer` and, as its own `model`, `ports.model.Model`. In virtual time."""

    provider = "loopback"

    def __init__(
        self,
        sizes: dict[str, float],
        budget_gb: float,
        *,
        name: str = "box.gpu",
        answer_s: float = 2.0,
        pace: float = 1.0,
    ) -> None:
        self.name = name
        self.sizes = {f"{model}@served": round(gb * GB) for model, gb in sizes.items()}
        self.budgets = {"gpu0": round(budget_gb * GB)}
        self.answer_s = answer_s * pace
        self.pace = pace
        """Of everything: below 1 for tests in real time."""
        self.text = ("well",)
        self.loaded: dict[str, int] = {}
        self.running: Counter[str] = Counter()
        self.most_running: Counter[str] = Counter()
        self.most_at_once = 0
        self.peak = 0
        self.loads: list[str] = []
        self.answered: list[str] = []
        self.broken: dict[str, TreadleError] = {}
        """Models that cannot be loaded."""
        self.gone: TreadleError | None = None
        self.tells_sizes = True
        self.closed = False

    @property
    def model(self) -> LoopbackServer:
        return self

    async def residents(self) -> Sequence[Resident]:
        self._is_there()
        return [Resident(name, size, 1.0) for name, size in self.loaded.items()]

    async def memory(self) -> Sequence[Memory]:
        used = sum(self.loaded.values())
        return [Memory(name, size, used, "budget") for name, size in self.budgets.items()]

    async def size_bytes(self, model: str) -> int | None:
        return self.sizes.get(model) if self.tells_sizes else None

    async def load(self, model: str, *, on_note: OnNote | None = None) -> Resident:
        self._is_there()
        if model not in self.sizes:
            raise UnknownName("model", model, self.sizes)
        self.loads.append(model)
        size = self.sizes[model]
        if model in self.broken:
            await asyncio.sleep(self.pace)
            raise self.broken[model]
        self.loaded[model] = size
        self.peak = max(self.peak, sum(self.loaded.values()))
        await asyncio.sleep((1 + size / GB) * self.pace)
        return Resident(model, size, 1.0)

    async def unload(self, model: str) -> None:
        self._is_there()
        assert not self.running[model], f"{model} was unloaded while it answered"
        await asyncio.sleep(0.2 * self.pace)
        self.loaded.pop(model, None)

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        self._is_there()
        assert request.model in self.loaded, f"{request.model} was asked without being loaded"
        self.running[request.model] += 1
        self.most_running[request.model] = max(self.most_running[request.model], self.running[request.model])
        self.most_at_once = max(self.most_at_once, self.running.total())
        try:
            await asyncio.sleep(self.answer_s)
            self._is_there()
        finally:
            self.running[request.model] -= 1
        self.answered.append(request.model)
        for piece in self.text:
            if on_delta is not None:
                on_delta(piece)
                await asyncio.sleep(0)
        return ModelReply("".join(self.text), request.model, usage=Usage(3, len(self.text)))

    async def close(self) -> None:
        self.closed = True

    def _is_there(self) -> None:
        if self.gone is not None:
            raise self.gone

    def crash(self) -> None:
        """Lose everything that is loaded, as after a restart."""
        self.loaded.clear()
        self.gone = ModelUnavailable("The server is gone.")
