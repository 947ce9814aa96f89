"""From a service of the inventory to the adapter that asks it."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.domain.inventory import ModelEntry, Service
from treadle.ports.model import Model
from treadle.settings import ModelSettings


def adapter_of(service: Service, models: Iterable[ModelEntry], key: str, settings: ModelSettings) -> Model:
    """Make the adapter for a service. Opens nothing yet. It takes models by the names that the service knows.

    `key` is the value of the variable that `service.api_key_env` names; if it is missing, that is told when something
    is asked. `models` are those of the inventory; each of this service is asked with its own context.

    Raises:
        ConfigError: The package for it is not installed. The hint is the command that installs it.
    """
    # Each provider's package comes with an extra of its own, and some take seconds to import.
    silence = {"first_token_seconds": settings.first_token_seconds, "stall_seconds": settings.stall_seconds}
    if service.kind == "llama_cpp":
        from treadle.models.adapters.embedded import EmbeddedModel

        contexts = {entry.served_as: entry.context for entry in models if entry.service == service.name}
        return EmbeddedModel(settings, contexts=contexts)
    if service.kind == "ollama":
        from treadle.models.adapters.ollama import OllamaModel

        contexts = {entry.served_as: entry.context for entry in models if entry.service == service.name}
        return OllamaModel(settings, url=service.url, contexts=contexts, api_key=key, key_env=service.api_key_env)
    if service.kind == "anthropic":
        from treadle.models.adapters.anthropic import VENDOR_URL, AnthropicModel

        return AnthropicModel(api_key=key, key_env=service.api_key_env, url=service.url or VENDOR_URL, **silence)
    if service.kind == "gemini":
        from treadle.models.adapters.gemini import VENDOR_URL as GEMINI_URL
        from treadle.models.adapters.gemini import GeminiModel

        return GeminiModel(api_key=key, key_env=service.api_key_env, url=service.url or GEMINI_URL, **silence)
    from treadle.models.adapters.openai_chat import OpenAIChat

    return OpenAIChat(
        service.url,
        api_key=key,
        key_env=service.api_key_env,
        provider=service.kind,
        first_token_seconds=settings.first_token_seconds,
        stall_seconds=settings.stall_seconds,
    )
