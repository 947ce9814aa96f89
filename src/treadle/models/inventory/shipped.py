"""The inventory of those who wrote none: embedded models, a local Ollama if it runs, and what a flag names.

Nothing in it costs money unless its provider is named.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from treadle.domain.inventory import Inventory, ModelEntry, Routing, Service, Tier
from treadle.models.files.catalog import DEFAULT_MODEL, catalog
from treadle.models.loopback import is_loopback
from treadle.settings import ModelSettings

TINY_MODEL = "qwen2.5-coder:0.5b"
_PROBE_SECONDS = 0.5
_CODING = ("coder", "codestral", "devstral", "codellama", "codegemma", "starcoder", "granite-code", "code")
_NO_CHAT = ("embed", "bge-", "minilm", "rerank")
_MEMORY_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class OllamaTag:
    """A model that an Ollama server has."""

    name: str
    bytes: int


def shipped_inventory(settings: ModelSettings, tags: list[OllamaTag] | None) -> Inventory:
    """Put together what there is without a file; `tags` is what the local Ollama has, None if none runs.

    A model that both have is Ollama's: it is there already.
    """
    services = {"embedded": Service("embedded", "llama_cpp", concurrency=settings.parallel)}
    models = {entry.name: ModelEntry(entry.name, "embedded", entry.name, settings.context) for entry in catalog()}
    if tags is not None:
        services["ollama"] = Service("ollama", "ollama", settings.ollama_url)
        models |= {
            tag.name: ModelEntry(tag.name, "ollama", tag.name, settings.context, round(tag.bytes / 1e9, 1) or None)
            for tag in tags
        }
    picked = pick_coding_model(tags or [])
    usual = (picked, DEFAULT_MODEL) if picked and picked != DEFAULT_MODEL else (DEFAULT_MODEL,)
    tiers: Mapping[Tier, tuple[str, ...]] = {"tiny": (TINY_MODEL,), "small": usual, "large": usual}
    return Inventory({}, services, models, {}, Routing(tiers=tiers))


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


def pick_coding_model(tags: list[OllamaTag], memory_bytes: int | None = None) -> str | None:
    """Pick the largest model for code that fits into memory; if none fits, the smallest; None if none is for code."""
    memory = _memory_bytes() if memory_bytes is None else memory_bytes
    coding = [tag for tag in tags if _is_for(tag, _CODING) and can_chat(tag)]
    fitting = [tag for tag in coding if tag.bytes <= memory * _MEMORY_SHARE]
    if fitting:
        return max(fitting, key=lambda tag: (tag.bytes, tag.name)).name
    return min(coding, key=lambda tag: (tag.bytes, tag.name)).name if coding else None


def can_chat(tag: OllamaTag) -> bool:
    """Tell whether the model answers questions at all, by its name."""
    return not _is_for(tag, _NO_CHAT)


def _is_elsewhere(listed: dict[str, Any]) -> bool:
    """Tell whether Ollama would pass the request on to a paid service."""
    return bool(listed.get("remote_host") or listed.get("remote_model")) or str(listed.get("name", "")).endswith(
        "cloud"
    )


def _is_for(tag: OllamaTag, marks: tuple[str, ...]) -> bool:
    return any(mark in tag.name.lower() for mark in marks)


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
