"""vLLM: one process holds one model, and gives its card back while it sleeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle.domain.inventory import ModelEntry, Service
from treadle.errors import ModelUnavailable, UnknownName
from treadle.models.drivers.api import Api, Declined
from treadle.models.drivers.driven import DrivenServer
from treadle.models.drivers.ollama import listed
from treadle.ports.model import Model
from treadle.ports.model_server import Resident

_HINT = "Start vLLM with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1 in its environment, on loopback only."
_RUNNING = ("vllm:num_requests_running", "vllm:num_requests_waiting")


class VllmServer(DrivenServer):
    """Implements `ports.model_server.ModelServer` with one vLLM: loading wakes it, unloading lets it sleep (level 1).

    While it sleeps its weights lie in the machine's RAM. One without sleep mode has its model loaded for good.
    """

    source = "budget"

    def __init__(
        self, service: Service, models: Iterable[ModelEntry], model: Model, *, key: str = "", load_seconds: float = 180
    ) -> None:
        root = service.url.rstrip("/").removesuffix("/v1")
        api = Api("vLLM", root, key=key, key_env=service.api_key_env, start_hint="Is vLLM running there?")
        super().__init__(service, models, model, api, load_seconds=load_seconds)

    async def residents(self) -> Sequence[Resident]:
        names = await self._names()
        if await self._is_asleep():
            return []
        in_flight = _in_flight(await self._api.text("/metrics"))
        return [
            Resident(name, self._configured(name) or self._limit() or 0, 1.0, self._context(name), in_flight)
            for name in names
        ]

    async def unload(self, model: str) -> None:
        if model not in await self._names():
            raise UnknownName("model", model, await self._names())
        if await self._is_asleep():
            return
        await self._tell("/sleep?level=1", "did not go to sleep")
        await self._until_gone(model)

    async def _load(self, model: str) -> None:
        await self._tell("/wake_up", "did not wake up")

    async def _reckoned(self, model: str) -> int | None:
        names = await self._names()
        if model not in names:
            raise UnknownName("model", model, names)
        # It takes its share of the card for itself, whatever the model is.
        return self._limit()

    async def _names(self) -> list[str]:
        try:
            said = await self._api.get("/v1/models")
        except Declined as exc:
            raise ModelUnavailable(f"{self._api.where} does not list its model ({exc.status}: {exc.said}).") from exc
        return [str(item.get("id", "")) for item in listed(said, "data", self._api.where)]

    async def _is_asleep(self) -> bool:
        try:
            said = await self._api.get("/is_sleeping")
        except Declined:
            return False
        return isinstance(said, dict) and bool(said.get("is_sleeping"))

    async def _tell(self, path: str, failure: str) -> None:
        try:
            await self._api.post(path, seconds=self._load_seconds)
        except Declined as exc:
            hint = _HINT if exc.status in (404, 405) else "See its log."
            raise ModelUnavailable(f"{self._api.where} {failure} ({exc.status}: {exc.said}).", hint=hint) from exc


def _in_flight(metrics: str) -> int | None:
    lines = [line for line in metrics.splitlines() if line.startswith(_RUNNING)]
    return sum(int(float(line.split()[-1])) for line in lines) if lines else None
