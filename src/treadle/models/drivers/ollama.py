"""Ollama as a server that loads and unloads: it is told what to keep, and what not, and asked whether it did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from treadle.domain.inventory import ModelEntry, Service
from treadle.errors import ModelUnavailable, UnknownName
from treadle.models.drivers.api import Api, Declined
from treadle.models.drivers.driven import DrivenServer
from treadle.ports.model import Model
from treadle.ports.model_server import Resident

_FOR_EVER = -1
_OTHER_BYTES = 512 << 20
"""What Ollama's runner takes beside weights and context, roughly."""


class OllamaServer(DrivenServer):
    """Implements `ports.model_server.ModelServer` with one Ollama.

    A loaded model stays until it is unloaded, whatever Ollama's own time is. The context is sent with every load, for
    with another one Ollama would load it anew.
    """

    source = "/api/ps"

    def __init__(
        self, service: Service, models: Iterable[ModelEntry], model: Model, *, key: str = "", load_seconds: float = 180
    ) -> None:
        api = ollama_api(service.url, key=key, key_env=service.api_key_env)
        super().__init__(service, models, model, api, load_seconds=load_seconds)

    async def residents(self) -> Sequence[Resident]:
        found = await self._look("/api/ps")
        return [self._resident(item) for item in found]

    async def unload(self, model: str) -> None:
        if all(item.model != model for item in await self.residents()):
            return
        try:
            await self._api.post("/api/generate", {"model": model, "keep_alive": 0, "stream": False})
        except Declined as exc:
            if exc.status != 404:
                raise self._failed(f"{model!r} was not unloaded", exc) from exc
        await self._until_gone(model)

    async def _load(self, model: str) -> None:
        body: dict[str, Any] = {"model": model, "keep_alive": _FOR_EVER, "stream": False}
        if (context := self._context(model)) is not None:
            body["options"] = {"num_ctx": context}
        try:
            said = await self._api.post("/api/generate", body, seconds=self._load_seconds)
        except Declined as exc:
            if exc.status == 404:
                raise UnknownName("model", model, await self._names()) from exc
            raise self._failed(f"{model!r} could not be loaded", exc) from exc
        if not isinstance(said, dict) or not said.get("done"):
            raise ModelUnavailable(f"{self._api.where} did not say that {model!r} is loaded: {str(said)[:200]}.")

    async def _reckoned(self, model: str) -> int | None:
        tags = {self._name(item): item for item in await self._look("/api/tags")}
        if model not in tags:
            raise UnknownName("model", model, tags)
        weights = int(tags[model].get("size", 0))
        try:
            shown = await self._api.post("/api/show", {"model": model})
        except Declined:
            return None
        info = shown.get("model_info") if isinstance(shown, dict) else None
        context = self._context(model)
        if not isinstance(info, dict) or context is None or not weights:
            return None
        return weights + _kv_bytes_per_token(info) * context + _OTHER_BYTES

    async def _names(self) -> list[str]:
        return [self._name(item) for item in await self._look("/api/tags")]

    async def _look(self, path: str) -> list[dict[str, Any]]:
        try:
            said = await self._api.get(path)
        except Declined as exc:
            raise self._failed(f"{path} was not answered", exc) from exc
        return listed(said, "models", self._api.where)

    def _found(self, model: str, residents: Sequence[Resident]) -> Resident | None:
        found = super()._found(model, residents)
        wanted = self._context(model)
        return None if found and wanted and found.context and found.context < wanted else found

    def _resident(self, item: Mapping[str, Any]) -> Resident:
        size, on_cards = int(item.get("size", 0)), int(item.get("size_vram", 0))
        context = item.get("context_length")
        return Resident(
            model=self._name(item),
            bytes=size,
            gpu_share=on_cards / size if size else 0.0,
            context=context if isinstance(context, int) else None,
        )

    def _name(self, item: Mapping[str, Any]) -> str:
        """Its name as the inventory has it: `llama3` is what Ollama calls `llama3:latest`."""
        name = str(item.get("name") or item.get("model") or "")
        plain = name.removesuffix(":latest")
        return plain if plain in self._entries else name

    def _failed(self, what: str, exc: Declined) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self._api.where}: {what} ({exc.status}: {exc.said}).",
            hint="Unload another model, use a smaller one or a smaller context; see Ollama's log.",
        )


def ollama_api(url: str, *, key: str = "", key_env: str = "") -> Api:
    """The management API of an Ollama."""
    hint = "Is Ollama running there? Start it with `ollama serve`, or correct the address."
    return Api("Ollama", url, key=key, key_env=key_env, start_hint=hint)


def listed(said: object, key: str, where: str) -> list[dict[str, Any]]:
    """The objects of a list in an answer. Raises ModelUnavailable if there is none."""
    found = said.get(key) if isinstance(said, dict) else None
    if not isinstance(found, list):
        raise ModelUnavailable(
            f"{where} answered with something else than a list of models: {str(said)[:200]}.",
            hint="Something else listens there: check the address.",
        )
    return [item for item in found if isinstance(item, dict)]


async def pull(url: str, name: str, on_progress: Callable[[int, int, str], None]) -> None:
    """Have an Ollama fetch a model. What an interrupted pull brought is kept by Ollama.

    Raises:
        UnknownName: Its registry has no such model.
        ModelUnavailable: It is not there, or could not fetch it.
    """
    api = ollama_api(url)
    done: dict[str, tuple[int, int]] = {}
    try:
        async for part in _parts(api, name):
            if "error" in part:
                raise _not_pulled(api, name, str(part["error"]))
            if part.get("digest") and part.get("total"):
                done[part["digest"]] = (int(part.get("completed", 0)), int(part["total"]))
            on_progress(sum(d for d, _ in done.values()), sum(t for _, t in done.values()), str(part.get("status", "")))
            if part.get("status") == "success":
                return
        raise ModelUnavailable(f"{api.where} broke off while it fetched {name!r}.", hint="Pull again: it goes on.")
    except Declined as exc:
        raise _not_pulled(api, name, exc.said) from exc
    finally:
        await api.close()


async def _parts(api: Api, name: str) -> AsyncIterator[dict[str, Any]]:
    async for part in api.lines("/api/pull", {"model": name, "stream": True}):
        if isinstance(part, dict):
            yield part


def _not_pulled(api: Api, name: str, said: str) -> Exception:
    if "does not exist" in said or "not found" in said:
        return UnknownName("model of Ollama's registry", name, ())
    return ModelUnavailable(
        f"{api.where} could not fetch {name!r}: {said}.", hint="Check its network and its disk, then pull again."
    )


def _kv_bytes_per_token(info: Mapping[str, Any]) -> int:
    """Reckon the KV cache (f16) from what `/api/show` tells: keys of a GGUF header. 0 if it tells too little."""
    architecture = info.get("general.architecture", "")

    def number(key: str, default: int = 0) -> int:
        found = info.get(f"{architecture}.{key}")
        return int(found) if isinstance(found, int | float) else default

    heads = number("attention.head_count")
    of_a_head = number("embedding_length") // heads if heads else 0
    both = number("attention.key_length", of_a_head) + number("attention.value_length", of_a_head)
    return 2 * number("block_count") * number("attention.head_count_kv", heads) * both
