"""The embedded llama.cpp as a server that loads and unloads: every model in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from treadle.domain.inventory import ModelEntry, Service
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.files import gguf
from treadle.models.files.catalog import locate
from treadle.models.hosts import host
from treadle.models.hosts.budget import budget
from treadle.models.hosts.host import Loaded
from treadle.ports.model import Model
from treadle.ports.model_server import Memory, OnNote, Resident
from treadle.settings import ModelSettings


class EmbeddedServer:
    """Implements `ports.model_server.ModelServer` with the model hosts of this user.

    Other processes use the same hosts under the same budget, and may load and end them at any time; a model in use is
    never taken away. The answering `model` loads what is not loaded, and makes room for it.
    """

    def __init__(
        self, settings: ModelSettings, *, name: str = "embedded", contexts: Mapping[str, int] | None = None
    ) -> None:
        """`contexts`: tokens per request by model, where they differ from the configured ones."""
        self._settings = settings
        self._name = name
        self._model = EmbeddedModel(settings, contexts=contexts)
        self._called = {host.shown_name(model): model for model in contexts or ()}
        """The inventory may know a model by an alias, and is to hear of it by that."""

    @classmethod
    def of(cls, service: Service, models: Iterable[ModelEntry], settings: ModelSettings) -> EmbeddedServer:
        """Make it for a service of the inventory, with its budget and its models' contexts."""
        if service.memory_gb is not None:
            settings = replace(settings, memory_gb=service.memory_gb)
        if service.concurrency is not None:
            settings = replace(settings, parallel=service.concurrency)
        contexts = {entry.served_as: entry.context for entry in models if entry.service == service.name}
        return cls(settings, name=service.name, contexts=contexts)

    @property
    def name(self) -> str:
        return self._name

    @property
    def model(self) -> Model:
        return self._model

    async def residents(self) -> Sequence[Resident]:
        return [self._resident(item) for item in await host.ps(self._settings)]

    async def memory(self) -> Sequence[Memory]:
        """What embedded models may take together, and do: of all cards together, where there are several."""
        allowed = await asyncio.to_thread(budget, self._settings)
        loaded = await host.ps(self._settings)
        used = sum(_taken_bytes(item) for item in loaded)
        return [Memory("ram" if allowed.device == "ram" else "gpu0", allowed.bytes, used, "gguf")]

    async def size_bytes(self, model: str) -> int | None:
        file, settings = locate(model, self._settings), self._model.settings_of(model)
        if not file.is_present:
            return None
        size = gguf.loaded(file.path, context=settings.context, parallel=settings.parallel)
        return size.total

    async def load(self, model: str, *, on_note: OnNote | None = None) -> Resident:
        file = locate(model, self._settings)
        async with host.use(file, self._model.settings_of(model), on_note=on_note, may_evict=False) as endpoint:
            found = [item for item in await host.ps(self._settings) if item.pid == endpoint.pid]
        return self._resident(found[0])

    async def unload(self, model: str) -> None:
        await host.unload(self._settings, model)

    async def close(self) -> None:
        await self._model.close()

    def _resident(self, item: Loaded) -> Resident:
        return Resident(
            model=self._called.get(item.model, item.model),
            bytes=_taken_bytes(item),
            gpu_share=1.0 if item.device == "gpu" else 0.0,
            context=item.context,
            in_flight=item.in_flight,
        )


def _taken_bytes(item: Loaded) -> int:
    return item.memory_bytes if item.device == "gpu" else max(item.memory_bytes, item.rss_bytes)
