"""llama.cpp's own server in router mode: it loads and unloads models by name, and does not look at memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle.domain.inventory import ModelEntry, Service
from treadle.errors import ModelUnavailable, UnknownName
from treadle.models.drivers.api import Api, Declined
from treadle.models.drivers.driven import DrivenServer
from treadle.models.drivers.ollama import listed
from treadle.models.files import gguf
from treadle.models.loopback import is_loopback
from treadle.ports.model import Model
from treadle.ports.model_server import Resident

_LOADED = ("loaded", "sleeping")


class LlamaServer(DrivenServer):
    """Implements `ports.model_server.ModelServer` with a llama-server that was started without a model.

    It would load a second model over the first one's memory: what fits is reckoned here, from the sizes of the
    inventory, or from the files if they are on this machine. Start it with `--models-max 0`: then only this unloads.
    """

    source = "budget"

    def __init__(
        self, service: Service, models: Iterable[ModelEntry], model: Model, *, key: str = "", load_seconds: float = 180
    ) -> None:
        root = service.url.rstrip("/").removesuffix("/v1")
        api = Api(
            "llama-server", root, key=key, key_env=service.api_key_env, start_hint="Is llama-server running there?"
        )
        super().__init__(service, models, model, api, load_seconds=load_seconds)
        self._awaited: set[str] = set()
        """Models that were told to load: an old failure is no news, one of these is."""

    async def residents(self) -> Sequence[Resident]:
        models = await self._models()
        loaded = [name for name, item in models.items() if _state(item) in _LOADED]
        sizes = await asyncio.gather(*(self._size(name, models[name]) for name in loaded))
        share = 1.0 if self._service.gpus else 0.0
        return [Resident(name, size or 0, share, self._context(name)) for name, size in zip(loaded, sizes, strict=True)]

    async def unload(self, model: str) -> None:
        if all(item.model != model for item in await self.residents()):
            return
        await self._tell("/models/unload", model)
        await self._until_gone(model)

    async def _load(self, model: str) -> None:
        await self._tell("/models/load", model)
        self._awaited.add(model)

    async def _reckoned(self, model: str) -> int | None:
        models = await self._models()
        if model not in models:
            raise UnknownName("model", model, models)
        return await self._size(model, models[model])

    async def _models(self) -> dict[str, dict[str, Any]]:
        try:
            said = await self._api.get("/models")
        except Declined as exc:
            raise ModelUnavailable(
                f"{self._api.where} does not list its models ({exc.status}: {exc.said}).",
                hint="Start llama-server without -m, so that it is a router.",
            ) from exc
        models = {str(item.get("id", "")): item for item in listed(said, "data", self._api.where)}
        for name, item in models.items():
            if _is_failed(item) and name in self._awaited:
                self._awaited.discard(name)
                code = _status(item).get("exit_code", "unknown")
                raise ModelUnavailable(
                    f"{self._api.where} could not load {name!r} (exit code {code}).",
                    hint="See its log: there may be too little memory for it.",
                )
        return models

    async def _tell(self, path: str, model: str) -> None:
        try:
            said = await self._api.post(path, {"model": model})
        except Declined as exc:
            if exc.status == 404:
                raise UnknownName("model", model, await self._models()) from exc
            raise ModelUnavailable(
                f"{self._api.where}: {path} of {model!r} failed ({exc.status}: {exc.said})."
            ) from exc
        if not isinstance(said, dict) or not said.get("success"):
            raise ModelUnavailable(f"{self._api.where}: {path} of {model!r} failed: {str(said)[:200]}.")

    async def _size(self, name: str, item: Mapping[str, Any]) -> int | None:
        """What was configured, or what the file says if it is here."""
        if (configured := self._configured(name)) is not None:
            return configured
        path, context = Path(str(item.get("path", ""))), self._context(name)
        if context is None or not is_loopback(self._service.url) or not path.is_file():
            return None
        size = await asyncio.to_thread(gguf.footprint, path, context=context, parallel=1, prompt_cache_bytes=0)
        return size.total


def _status(item: Mapping[str, Any]) -> Mapping[str, Any]:
    status = item.get("status")
    return status if isinstance(status, dict) else {}


def _state(item: Mapping[str, Any]) -> str:
    return str(_status(item).get("value", ""))


def _is_failed(item: Mapping[str, Any]) -> bool:
    return bool(_status(item).get("failed")) and _state(item) != "loaded"
