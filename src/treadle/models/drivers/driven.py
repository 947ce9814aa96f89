"""What all servers over HTTP have in common: accounts of memory, and a load that ends when the model is there."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from treadle.domain.inventory import ModelEntry, Service
from treadle.errors import ModelTooLarge, ModelUnavailable
from treadle.models.drivers.api import Api
from treadle.models.hosts import nvml
from treadle.models.loopback import is_loopback
from treadle.ports.model import Model
from treadle.ports.model_server import Memory, OnNote, Resident

GB = 10**9
POLL_SECONDS = 0.05
UNLOAD_SECONDS = 30.0


class DrivenServer(ABC):
    """Implements the common part of `ports.model_server.ModelServer` for one service of the inventory.

    Models go by the names that the server knows them by.
    """

    source: ClassVar[str]
    """Where the figures of memory come from."""

    def __init__(
        self, service: Service, models: Iterable[ModelEntry], model: Model, api: Api, *, load_seconds: float
    ) -> None:
        self._service = service
        self._entries = {entry.served_as: entry for entry in models if entry.service == service.name}
        self._model = model
        self._api = api
        self._load_seconds = load_seconds
        self._seen: dict[str, int] = {}
        """Bytes of models that were loaded."""

    @property
    def name(self) -> str:
        return self._service.name

    @property
    def model(self) -> Model:
        return self._model

    @abstractmethod
    async def residents(self) -> Sequence[Resident]: ...

    @abstractmethod
    async def unload(self, model: str) -> None: ...

    @abstractmethod
    async def _reckoned(self, model: str) -> int | None:
        """What the model would take, by what the server says of it. Raises UnknownName."""

    @abstractmethod
    async def _load(self, model: str) -> None:
        """Ask the server to load it; may return before it is loaded."""

    async def close(self) -> None:
        await self._api.close()
        await self._model.close()

    async def size_bytes(self, model: str) -> int | None:
        reckoned = await self._reckoned(model)
        return self._seen.get(model) or self._configured(model) or reckoned

    async def memory(self) -> Sequence[Memory]:
        """The cards of the service, or the machine's memory; empty if nobody says how much there is.

        On this machine the driver is asked; elsewhere a model is reckoned to lie on the card with the most room.
        """
        residents = await self.residents()
        cards = nvml.cards().cards if is_loopback(self._service.url) and self._service.gpus else ()
        if cards:
            return [Memory(f"gpu{card.index}", card.total_bytes, card.used_bytes, "nvml") for card in cards]
        limit = self._limit()
        if limit is None:
            return []
        if len(self._service.gpus) < 2:
            device = "gpu0" if self._service.gpus else "ram"
            return [Memory(device, limit, sum(map(self._share, residents)), self.source)]
        return self._per_card(residents, limit)

    async def load(self, model: str, *, on_note: OnNote | None = None) -> Resident:
        residents = await self.residents()
        if (found := self._found(model, residents)) is not None:
            return found
        size = await self.size_bytes(model)
        self._require_room(model, size, [item for item in residents if item.model != model])
        if on_note is not None:
            on_note(f"{self.name}: loading {model}")
        await self._load(model)
        resident = await self._until(lambda now: self._found(model, now), f"{model!r} did not load", self._load_seconds)
        self._seen[model] = resident.bytes
        return resident

    async def _until(
        self, wanted: Callable[[Sequence[Resident]], Resident | None], failure: str, seconds: float
    ) -> Resident:
        """Look until it is so. Raises ModelUnavailable after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if (found := wanted(await self.residents())) is not None:
                        return found
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ModelUnavailable(f"{self._api.where}: {failure} within {seconds:g} s.", hint="See its log.") from None

    async def _until_gone(self, model: str) -> None:
        absent = Resident(model, 0, 0.0)
        await self._until(
            lambda now: None if any(item.model == model for item in now) else absent,
            f"{model!r} was not unloaded",
            UNLOAD_SECONDS,
        )

    def _found(self, model: str, residents: Sequence[Resident]) -> Resident | None:
        """The model, loaded as it is wanted."""
        return next((item for item in residents if item.model == model), None)

    def _context(self, model: str) -> int | None:
        entry = self._entries.get(model)
        return entry.context if entry is not None else None

    def _configured(self, model: str) -> int | None:
        entry = self._entries.get(model)
        return int(entry.size_gb * GB) if entry is not None and entry.size_gb is not None else None

    def _limit(self) -> int | None:
        service = self._service
        cards = sum(gpu.memory_gb for gpu in service.gpus)
        limits = [given for given in (service.memory_gb, cards or None) if given is not None]
        return int(min(limits) * GB) if limits else None

    def _share(self, resident: Resident) -> int:
        """What a model takes of what is reckoned up here: of cards only the part that lies on them."""
        return int(resident.bytes * resident.gpu_share) if self._service.gpus else resident.bytes

    def _per_card(self, residents: Sequence[Resident], limit: int) -> list[Memory]:
        cards = [int(gpu.memory_gb * GB) for gpu in self._service.gpus]
        totals = [card * limit // sum(cards) for card in cards]
        used = [0] * len(cards)
        for size in sorted(map(self._share, residents), reverse=True):
            most = max(range(len(cards)), key=lambda card: totals[card] - used[card])
            if size <= totals[most] - used[most]:
                used[most] += size
            else:  # it is split over all of them
                used = [taken + size * total // sum(totals) for taken, total in zip(used, totals, strict=True)]
        return [Memory(f"gpu{index}", totals[index], used[index], self.source) for index in range(len(cards))]

    def _require_room(self, model: str, size: int | None, others: Sequence[Resident]) -> None:
        limit = self._limit()
        if size is None or limit is None:
            return
        needs = (
            f"Model {model!r} needs {size / GB:.1f} GB, and models may take {limit / GB:.1f} GB of {self._api.where}"
        )
        if size > limit:
            raise ModelTooLarge(
                f"{needs}; it was not loaded.",
                hint="Use a smaller model, a smaller context, or correct memory_gb and size_gb.",
            )
        taken = sum(map(self._share, others))
        if size + taken > limit:
            names = ", ".join(f"{item.model} ({item.bytes / GB:.1f} GB)" for item in others)
            raise ModelUnavailable(f"{needs}, where {names} are loaded; it was not loaded.", hint="Unload one of them.")
