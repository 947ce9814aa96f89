"""Which model answers, and why: flag, then configuration, then a running Ollama, then the embedded model.

A paid provider is never chosen because a key lies in the environment: it has to be named.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from treadle.errors import ConfigError, ModelUnavailable, UnknownName
from treadle.models.catalog import DEFAULT_MODEL, is_known, is_own_file, locate, lookup, names
from treadle.models.loopback import is_loopback
from treadle.settings import ModelSettings, Settings

_PROBE_SECONDS = 0.5
_PROVIDERS = ("embedded", "ollama", "openai")
_CODING = ("coder", "codestral", "devstral", "codellama", "codegemma", "starcoder", "granite-code", "code")
_NO_CHAT = ("embed", "bge-", "minilm", "rerank")
_MEMORY_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers."""

    model: str
    provider: str
    """`embedded`, `ollama` or `openai`."""
    reason: str
    """Why, as the end of a sentence that begins `MODEL answers, `: `because the flag --model names it`."""


@dataclass(frozen=True, slots=True)
class OllamaTag:
    """A model that an Ollama server has."""

    name: str
    bytes: int


Probe = Callable[[str], Awaitable[list[OllamaTag] | None]]
"""Asks the Ollama at a URL what it has; None if nobody answers."""


async def choose(settings: Settings, *, probe: Probe | None = None) -> Choice:
    """Decide which model answers. Asks an Ollama on loopback, and nobody else, what it has.

    Raises:
        UnknownName: The named model is nowhere to be had.
        ConfigError: A provider is named without what it needs.
        ModelUnavailable: Ollama is named as the provider, and does not answer.
    """
    model = settings.model
    provider, name = _split(model)
    ask = probe or ollama_tags
    if provider == "openai":
        return _openai(settings, name)
    if provider == "embedded":
        why = _named(settings, "provider") if not name else _named(settings, "model")
        return Choice(locate(name or DEFAULT_MODEL, model).name, "embedded", why)
    if provider == "ollama":
        return await _ollama(settings, name, ask)
    if name:
        return await _by_name(settings, name, ask)
    return await _unnamed(model, ask)


async def ollama_tags(url: str) -> list[OllamaTag] | None:
    """Ask an Ollama server for its models, leaving out those that run elsewhere; None if it does not answer quickly."""
    try:
        async with httpx2.AsyncClient(trust_env=not is_loopback(url), timeout=_PROBE_SECONDS) as client:
            answer = await client.get(f"{url.rstrip('/')}/api/tags")
            answer.raise_for_status()
            listed: list[dict[str, Any]] = answer.json()["models"]
            return [OllamaTag(str(m["name"]), int(m.get("size") or 0)) for m in listed if not _is_elsewhere(m)]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
        return None


def pick_coding_model(tags: list[OllamaTag], memory_bytes: int) -> str | None:
    """Pick the largest model for code that fits into memory; if none fits, the smallest; None if none is for code."""
    coding = [tag for tag in tags if _is_for(tag, _CODING) and not _is_for(tag, _NO_CHAT)]
    fitting = [tag for tag in coding if tag.bytes <= memory_bytes * _MEMORY_SHARE]
    if fitting:
        return max(fitting, key=lambda tag: (tag.bytes, tag.name)).name
    return min(coding, key=lambda tag: (tag.bytes, tag.name)).name if coding else None


async def _unnamed(model: ModelSettings, ask: Probe) -> Choice:
    url = model.ollama_url
    if not is_loopback(url):
        ollama = f"the Ollama at {url} is not on this machine and was not asked (--provider ollama uses it)"
    elif (tags := await ask(url)) is None:
        ollama = "no Ollama is running"
    elif (picked := pick_coding_model(tags, _memory_bytes())) is None:
        ollama = f"the Ollama at {url} has no model for code"
    else:
        return Choice(picked, "ollama", f"because Ollama is running at {url} and has it, and no other is configured")
    return Choice(
        DEFAULT_MODEL, "embedded", f"because it is the built-in default: no model is configured, and {ollama}"
    )


async def _by_name(settings: Settings, name: str, ask: Probe) -> Choice:
    model, why = settings.model, _named(settings, "model")
    if is_own_file(name):
        return Choice(locate(name, model).name, "embedded", why)
    tags = (await ask(model.ollama_url) or []) if is_loopback(model.ollama_url) else []
    if (found := _match(name, tags)) is not None:
        return Choice(found, "ollama", f"{why}, and Ollama at {model.ollama_url} has it")
    if is_known(name):
        return Choice(lookup(name).name, "embedded", why)
    raise UnknownName("model", name, [*names(), *(tag.name for tag in tags)])


async def _ollama(settings: Settings, name: str, ask: Probe) -> Choice:
    url = settings.model.ollama_url
    tags = await ask(url)
    if tags is None:
        raise ModelUnavailable(
            f"Ollama does not answer at {url}; nothing was started.",
            hint="Start it with `ollama serve`, correct ollama_url, or use --provider embedded.",
        )
    if not name:
        chat = [tag for tag in tags if not _is_for(tag, _NO_CHAT)]
        picked = pick_coding_model(tags, _memory_bytes()) or (chat[0].name if chat else None)
        if picked is None:
            raise ConfigError(
                f"Ollama at {url} has no model; nothing was started.", hint="Run: ollama pull qwen2.5-coder:7b"
            )
        return Choice(picked, "ollama", f"{_named(settings, 'provider')}, and of what Ollama has it suits code best")
    found = _match(name, tags)
    if found is None:
        raise UnknownName("model", name, [tag.name for tag in tags])
    return Choice(found, "ollama", _named(settings, "model"))


def _openai(settings: Settings, name: str) -> Choice:
    missing = [
        key for key, value in (("openai_base_url", settings.model.openai_base_url), ("model", name)) if not value
    ]
    if missing:
        raise ConfigError(
            f"Provider 'openai' is configured without {' and '.join(missing)}; nothing was started.",
            hint="Set TREADLE_OPENAI_BASE_URL (for example https://api.openai.com/v1) and name a --model.",
        )
    return Choice(name, "openai", _named(settings, "provider" if settings.model.provider == "openai" else "model"))


def _split(model: ModelSettings) -> tuple[str, str]:
    """Read a provider in front of the model's name, as in `ollama/llama3`. The same provider twice is no conflict."""
    prefix, slash, rest = model.model.partition("/")
    if not slash or prefix not in _PROVIDERS or is_own_file(model.model):
        return model.provider, model.model
    if model.provider not in ("auto", prefix):
        # A name with a slash in it that only happens to begin so.
        return model.provider, model.model
    return prefix, rest


def _named(settings: Settings, key: str) -> str:
    return f"because {settings.origins.get(f'model.{key}', 'the configuration')} names it"


def _match(name: str, tags: list[OllamaTag]) -> str | None:
    wanted = name.lower()
    return next((tag.name for tag in tags if tag.name.lower() in (wanted, f"{wanted}:latest")), None)


def _is_elsewhere(listed: dict[str, Any]) -> bool:
    """Tell whether Ollama would pass the request on to a paid service."""
    return bool(listed.get("remote_host") or listed.get("remote_model")) or str(listed.get("name", "")).endswith(
        "cloud"
    )


def _is_for(tag: OllamaTag, marks: tuple[str, ...]) -> bool:
    return any(mark in tag.name.lower() for mark in marks)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
