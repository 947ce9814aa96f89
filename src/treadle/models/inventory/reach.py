"""Do the services of an inventory answer, and have they its models? Asks each once, all at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from treadle.domain.inventory import Inventory, ModelEntry, Service
from treadle.errors import TreadleError
from treadle.models.files.catalog import locate
from treadle.models.inventory.keys import key_of, why_no_key
from treadle.models.loopback import is_loopback
from treadle.models.routing import Obstacles
from treadle.settings import Settings

_VENDOR_URLS = {
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of asking one service, or connecting to one piece of infrastructure."""

    name: str
    at: str
    """Its address; empty for what runs in Treadle itself."""
    problem: str = ""
    """Why it cannot be used; empty if it can."""
    missing: tuple[str, ...] = ()
    """Models of the inventory that it does not have."""
    asked: bool = True
    """False if it lacks its key, so that asking makes no sense."""


class _NoAnswer(Exception):
    """Why a service cannot be used. Control flow of this module."""


async def reach(inventory: Inventory, settings: Settings, *, seconds: float) -> list[Reached]:
    """Ask every service which models it has, and connect to the infrastructure. Raises nothing; shows no key."""
    services = [_service(service, inventory, settings, seconds) for service in inventory.services.values()]
    others = [_port(name, place, seconds) for name, place in inventory.infrastructure.items()]
    return list(await asyncio.gather(*services, *others))


def obstacles_in(found: Iterable[Reached]) -> Obstacles:
    """What routing has to know of it."""
    found = list(found)
    return Obstacles(
        {item.name: item.problem for item in found if item.problem},
        {model: f"{item.name} does not have it" for item in found for model in item.missing},
    )


async def _service(service: Service, inventory: Inventory, settings: Settings, seconds: float) -> Reached:
    entries = [entry for entry in inventory.models.values() if entry.service == service.name]
    if service.kind == "llama_cpp":
        return Reached(service.name, "", missing=tuple(e.name for e in entries if not _can_be_had(e, settings)))
    url = service.url or _VENDOR_URLS[service.kind]
    why = why_no_key(service, settings)
    if why:
        return Reached(service.name, url, why, asked=False)
    try:
        async with asyncio.timeout(seconds):
            names = await _names(service, url, key_of(service, settings))
    except _NoAnswer as error:
        return Reached(service.name, url, str(error))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
        why = "in time" if isinstance(error, TimeoutError | httpx2.TimeoutException) else f"({_reason(error)})"
        return Reached(service.name, url, f"it does not answer at {url} {why}")
    return Reached(service.name, url, missing=tuple(e.name for e in entries if not _has(names, e.served_as)))


async def _names(service: Service, url: str, key: str) -> set[str]:
    path, headers = _question(service, key)
    async with httpx2.AsyncClient(trust_env=not is_loopback(url), timeout=None) as client:
        answer = await client.get(f"{url}{path}", headers=headers)
    if answer.status_code in (401, 403):
        whose = (
            f"the key in {service.api_key_env}" if service.api_key_env else "requests without a key: give api_key_env"
        )
        raise _NoAnswer(f"it refuses {whose} (status {answer.status_code})")
    if answer.status_code != 200:
        raise _NoAnswer(f"it does not answer at {url} as a server of kind {service.kind} (status {answer.status_code})")
    try:
        return set(_listed(answer.json()))
    except (ValueError, KeyError, TypeError, AttributeError):
        kind = answer.headers.get("content-type", "something else").partition(";")[0]
        raise _NoAnswer(f"it answers at {url} with {kind}, and not as a server of kind {service.kind}") from None


def _question(service: Service, key: str) -> tuple[str, dict[str, str]]:
    """Where a service lists its models, and how it wants to be asked."""
    if service.kind == "ollama":
        return "/api/tags", {"Authorization": f"Bearer {key}"} if key else {}
    if service.kind == "anthropic":
        return "/v1/models?limit=1000", {"x-api-key": key, "anthropic-version": "2023-06-01"}
    if service.kind == "gemini":
        return "/v1beta/models?pageSize=1000", {"x-goog-api-key": key}
    return "/models", {"Authorization": f"Bearer {key}"} if key else {}


def _listed(answer: Mapping[str, Any]) -> list[str]:
    """The names in an answer of Ollama, Gemini (`models`), or of the others (`data`)."""
    if "models" in answer:
        return [str(item["name"]).removeprefix("models/") for item in answer["models"]]
    return [str(item["id"]) for item in answer["data"]]


def _has(names: set[str], served_as: str) -> bool:
    wanted = served_as.lower()
    return any(name.lower() in (wanted, f"{wanted}:latest") for name in names)


def _can_be_had(entry: ModelEntry, settings: Settings) -> bool:
    """Tell whether a file is here, or is one of the catalogue, which are fetched when they are needed."""
    try:
        locate(entry.served_as, settings.model)
    except TreadleError:
        return False
    return True


async def _port(name: str, place: str, seconds: float) -> Reached:
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        return Reached(name, place)
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        why = "in time" if isinstance(error, TimeoutError) else f"({_reason(error)})"
        return Reached(name, place, f"it does not answer at {place} {why}")
    writer.close()
    return Reached(name, place)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
