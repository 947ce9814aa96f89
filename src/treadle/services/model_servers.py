"""What the servers of this machine have in memory, for every face: looking, loading, unloading."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.domain.inventory import Inventory, Service
from treadle.errors import TreadleError, UnknownName
from treadle.models.choose import provider_of
from treadle.models.drivers import KINDS, server_of
from treadle.models.hosts import host
from treadle.models.hosts.host import Loaded
from treadle.models.hosts.start import OnNote
from treadle.models.inventory import shipped
from treadle.models.inventory.read import load_inventory
from treadle.models.loopback import is_loopback
from treadle.ports.model_server import ModelServer, Resident
from treadle.settings import Settings

_EMBEDDED = Service("embedded", "llama_cpp")


@dataclass(frozen=True, slots=True)
class LoadedView:
    """A model in the memory of this machine."""

    model: str
    """As its server calls it."""
    server: str
    memory_bytes: int
    """What it takes, weights and context."""
    gpu_share: float
    context: int | None
    in_flight: int | None
    """None: the server does not say."""
    idle_seconds: float | None = None
    loaded_seconds: float | None = None
    pid: int | None = None
    rss_bytes: int | None = None
    """Of an embedded model: what its process holds now."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A server that did not answer."""

    server: str
    why: str


class ModelServers:
    """The servers of this machine that load and unload: the embedded one, and those of the inventory on loopback."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def loaded(self) -> tuple[Sequence[LoadedView], Sequence[Silent]]:
        """What is in memory now, and which servers did not say. Loads nothing, and waits for no request.

        Raises:
            ConfigError: The inventory is wrong.
        """
        inventory = await self._inventory()
        embedded = [_embedded_view(item) for item in await host.ps(self._settings.model)]
        others = [service for service in _local(inventory) if service.kind != "llama_cpp"]
        answers = await asyncio.gather(*(self._look(service, inventory) for service in others))
        views = [view for answer in answers if not isinstance(answer, Silent) for view in answer]
        return [*embedded, *views], [answer for answer in answers if isinstance(answer, Silent)]

    async def load(self, name: str, on_note: OnNote | None = None) -> LoadedView:
        """Have a model in memory: a name of the inventory, of the catalogue, or `SERVICE/NAME`. Evicts nothing.

        Raises:
            UnknownName: No server here has it.
            ModelUnavailable: There is no room for it, or its server does not answer.
        """
        inventory = await self._inventory()
        service, model = _find(name, inventory)
        server = self._server(service, inventory)
        try:
            resident = await server.load(model, on_note=on_note)
        finally:
            await server.close()
        own = [view for view in await self._embedded(service) if view.model == host.shown_name(resident.model)]
        return own[0] if own else _view(resident, service)

    async def unload(self, name: str | None = None, on_note: OnNote | None = None) -> Sequence[str]:
        """Free the memory of a model, or of all embedded ones; returns the names of those that were loaded.

        Raises:
            UnknownName: No server here has it.
            ModelUnavailable: It does not go, or its server does not answer.
        """
        if name is None:
            return await host.unload(self._settings.model, on_note=on_note)
        inventory = await self._inventory()
        service, model = _find(name, inventory)
        if service.kind == "llama_cpp":
            return await host.unload(self._settings.model, model, on_note=on_note)
        server = self._server(service, inventory)
        try:
            was_loaded = any(item.model == model for item in await server.residents())
            await server.unload(model)
        finally:
            await server.close()
        return [model] if was_loaded else []

    async def _inventory(self) -> Inventory:
        written = load_inventory(self._settings)
        if written is not None:
            return written
        model = self._settings.model
        return shipped.shipped_inventory(model, await shipped.ollama_tags(model.ollama_url))

    def _server(self, service: Service, inventory: Inventory) -> ModelServer:
        key = self._settings.variables.get(service.api_key_env) if service.api_key_env else ""
        return server_of(service, inventory, self._settings.model, key=key)

    async def _look(self, service: Service, inventory: Inventory) -> Sequence[LoadedView] | Silent:
        try:
            server = self._server(service, inventory)
            try:
                return [_view(item, service) for item in await server.residents()]
            finally:
                await server.close()
        except TreadleError as error:
            return Silent(service.name, str(error))

    async def _embedded(self, service: Service) -> Sequence[LoadedView]:
        found = await host.ps(self._settings.model) if service.kind == "llama_cpp" else []
        return [_embedded_view(item) for item in found]


def _local(inventory: Inventory) -> list[Service]:
    """The services that load and unload on this machine."""
    services = [service for service in inventory.services.values() if service.kind in KINDS]
    return [service for service in services if service.kind == "llama_cpp" or is_loopback(service.url)]


def _find(name: str, inventory: Inventory) -> tuple[Service, str]:
    """Which service a name means, and what that one calls it."""
    local = _local(inventory)
    prefix, _, rest = name.partition("/")
    entry = inventory.models.get(name)
    if entry is not None and inventory.services[entry.service] in local:
        return inventory.services[entry.service], entry.served_as
    for service in local:
        if rest and prefix in (service.name, provider_of(service)):
            return service, rest
    try:
        host.require_known(name)
    except UnknownName as error:
        served = [entry.name for entry in inventory.models.values() if inventory.services[entry.service] in local]
        raise UnknownName("model on this machine", name, served) from error
    return next((service for service in local if service.kind == "llama_cpp"), _EMBEDDED), name


def _view(item: Resident, service: Service) -> LoadedView:
    return LoadedView(item.model, service.name, item.bytes, item.gpu_share, item.context, item.in_flight)


def _embedded_view(item: Loaded) -> LoadedView:
    return LoadedView(
        model=item.model,
        server="embedded",
        memory_bytes=item.memory_bytes,
        gpu_share=1.0 if item.device == "gpu" else 0.0,
        context=item.context,
        in_flight=item.in_flight,
        idle_seconds=item.idle_seconds,
        loaded_seconds=item.loaded_seconds,
        pid=item.pid,
        rss_bytes=item.rss_bytes,
    )
