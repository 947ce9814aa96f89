"""Drivers: servers that load and unload models, each behind `ports.model_server.ModelServer`."""

from __future__ import annotations

from treadle.domain.inventory import Inventory, Service
from treadle.errors import UsageError
from treadle.models.adapters import adapter_of
from treadle.models.adapters.ollama import OllamaModel
from treadle.models.drivers.embedded import EmbeddedServer
from treadle.models.drivers.llama_server import LlamaServer
from treadle.models.drivers.ollama import OllamaServer
from treadle.models.drivers.vllm import VllmServer
from treadle.ports.model_server import ModelServer
from treadle.settings import ModelSettings

KINDS = ("llama_cpp", "ollama", "llama_server", "vllm")
"""The kinds of services whose models can be loaded and unloaded."""


def server_of(service: Service, inventory: Inventory, settings: ModelSettings, *, key: str = "") -> ModelServer:
    """Make the driver of a service. Opens nothing yet.

    `key` is the value of the variable that `service.api_key_env` names.

    Raises:
        UsageError: Nothing can be loaded there: a service of a vendor, or any other that only answers.
        ConfigError: A package is not installed.
    """
    entries = [entry for entry in inventory.models.values() if entry.service == service.name]
    if service.kind == "llama_cpp":
        return EmbeddedServer.of(service, entries, settings)
    if service.kind == "ollama":
        contexts = {entry.served_as: entry.context for entry in entries}
        kept = OllamaModel(
            settings, url=service.url, contexts=contexts, keep_alive=-1, api_key=key, key_env=service.api_key_env
        )
        return OllamaServer(service, entries, kept, key=key, load_seconds=settings.load_seconds)
    model = adapter_of(service, entries, key, settings)
    if service.kind == "llama_server":
        return LlamaServer(service, entries, model, key=key, load_seconds=settings.load_seconds)
    if service.kind == "vllm":
        return VllmServer(service, entries, model, key=key, load_seconds=settings.load_seconds)
    raise UsageError(
        f"Service {service.name!r} is of the kind {service.kind!r}, where nothing can be loaded or unloaded.",
        hint=f"Kinds that can: {', '.join(KINDS)}.",
    )
