"""The pool for the faces: put together from the configuration, served to other processes, looked at from outside."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from treadle.domain.inventory import Inventory, Service
from treadle.errors import ConfigError, ModelUnavailable, Refused
from treadle.models.extras import require
from treadle.models.inventory.read import load_inventory
from treadle.models.inventory.shipped import ollama_tags, shipped_inventory
from treadle.models.loopback import is_loopback
from treadle.pool.agents import FILE, PoolConfig, default_config, read_config
from treadle.pool.pool import Pool
from treadle.pool.record import Happened, OnHappened, PoolNow
from treadle.ports.model_server import ModelServer
from treadle.services.http_server import http_server
from treadle.settings import Settings

PORT = 8747
KEY_VARIABLE = "TREADLE_POOL_KEY"
_ADDRESS_FILE = "pool.json"
_ASK_SECONDS = 2.0

ServerOf = Callable[[Service, Inventory, Settings], ModelServer | None]
"""Makes the driver of a service; None if the service has nothing to load."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a pool is served, and its key."""

    url: str
    key: str


async def make_pool(
    settings: Settings, config: Path | None, server_of: ServerOf, on_happened: OnHappened | None = None
) -> Pool:
    """Put a pool together from the inventory and `pool.toml`, or from what is shipped. Loads nothing yet.

    Raises:
        ConfigError: One of the files is wrong, or no service has models to load.
    """
    written = load_inventory(settings)
    inventory = written or shipped_inventory(settings.model, await _ollama(settings))
    servers = {name: server_of(service, inventory, settings) for name, service in inventory.services.items()}
    managed = {name: server for name, server in servers.items() if server is not None}
    if not managed:
        raise ConfigError(
            "No service of the inventory loads and unloads models; there is nothing for a pool to do.",
            hint="It manages services of kind llama_cpp, ollama, llama_server and vllm.",
        )
    concurrency = {name: inventory.services[name].concurrency for name in managed}
    return Pool(
        managed,
        list(inventory.models.values()),
        _config(settings, config, has_inventory=written is not None),
        routing=inventory.routing,
        concurrency=concurrency,
        on_happened=on_happened,
    )


def key_of(settings: Settings) -> str:
    """The key that is configured, or a new one."""
    return settings.variables.get(KEY_VARIABLE) or secrets.token_urlsafe(32)


@asynccontextmanager
async def serving(pool: Pool, settings: Settings, *, host: str, port: int, key: str) -> AsyncIterator[Address]:
    """Serve the pool until the block is left; answers under way then get some seconds to end.

    Raises:
        ConfigError: The extra is not installed, or the address cannot be had.
    """
    require("starlette", "serve")
    from treadle.pool.endpoint import application  # noqa: PLC0415 - starlette comes with an extra

    async with http_server(application(pool, key), host=host, port=port, extra="serve") as url:
        address = Address(url, key)
        file = _write_address(settings, address)
        try:
            yield address
        finally:
            if _read_address(file) == address:
                file.unlink(missing_ok=True)


class PoolClient:
    """Looks at a pool that some process serves. Usable as `async with`."""

    def __init__(self, address: Address, *, timeout: float = 10.0) -> None:
        self._address = address
        self._http = httpx2.AsyncClient(
            base_url=address.url,
            headers={"Authorization": f"Bearer {address.key}"},
            trust_env=not is_loopback(address.url),
            timeout=timeout,
        )

    async def __aenter__(self) -> PoolClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def names(self) -> list[str]:
        """Models, tiers and agent pools that may be asked for. Raises ModelUnavailable, Refused."""
        return [str(model["id"]) for model in msgspec.json.decode(await self._get("/v1/models"))["data"]]

    async def now(self) -> PoolNow:
        """How things stand. Raises ModelUnavailable, Refused."""
        return msgspec.json.decode(await self._get("/v1/pool"), type=PoolNow)

    async def log(self, pool: str | None = None) -> list[Happened]:
        """What an agent pool did lately, or all of them. Raises ModelUnavailable, Refused."""
        return msgspec.json.decode(await self._get("/v1/pool/log", {"pool": pool} if pool else {}), type=list[Happened])

    async def _get(self, path: str, query: dict[str, str] | None = None) -> bytes:
        try:
            answer = await self._http.get(path, params=query or {})
        except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
            raise ModelUnavailable(
                f"No pool answers at {self._address.url}: {exc or type(exc).__name__}.",
                hint="Start one: treadle pool serve.",
            ) from exc
        if answer.status_code == 401:
            raise Refused(f"The pool at {self._address.url} does not accept the key.", hint=f"Set {KEY_VARIABLE}.")
        if answer.status_code != 200:
            raise ModelUnavailable(f"{self._address.url} answered with {answer.status_code}: it is no pool.")
        return answer.content


def address_of(settings: Settings, url: str | None) -> Address:
    """Where the pool is: at the URL, with the configured key, or the one that this user serves on this machine.

    Raises ModelUnavailable.
    """
    found = _read_address(settings.model.runtime_dir / _ADDRESS_FILE)
    key = settings.variables.get(KEY_VARIABLE)
    if url is not None:
        is_ours = found is not None and found.url == url.rstrip("/")
        return Address(url.rstrip("/"), key or (found.key if found is not None and is_ours else ""))
    if found is None:
        raise ModelUnavailable(
            "No pool is served by this user on this machine.", hint="Start one: treadle pool serve; or name its --url."
        )
    return found


@dataclass(frozen=True, slots=True)
class Served:
    """A pool that answers, and the models it manages."""

    address: Address
    names: frozenset[str]


async def served(settings: Settings) -> Served | None:
    """The pool that this user serves on this machine, if one answers."""
    address = _read_address(settings.model.runtime_dir / _ADDRESS_FILE)
    if address is None:
        return None
    try:
        async with PoolClient(address, timeout=_ASK_SECONDS) as client:
            return Served(address, frozenset(await client.names()))
    except (ModelUnavailable, Refused):
        return None


def _config(settings: Settings, given: Path | None, *, has_inventory: bool) -> PoolConfig:
    """The shipped agent pools name shipped models; who wrote an inventory has others."""
    own = settings.project / FILE
    if given is not None or own.is_file():
        return read_config(given or own)
    return PoolConfig() if has_inventory else default_config()


async def _ollama(settings: Settings) -> Any:
    url = settings.model.ollama_url
    return await ollama_tags(url) if is_loopback(url) else None


def _write_address(settings: Settings, address: Address) -> Path:
    """Leave address and key where other commands of this user find them, and nobody else."""
    file = settings.model.runtime_dir / _ADDRESS_FILE
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump({"url": address.url, "key": address.key}, out)
    new.replace(file)
    return file


def _read_address(file: Path) -> Address | None:
    try:
        return Address(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
