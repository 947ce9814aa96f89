"""The servers of a pool: what they have, what is loaded on them, and the changes under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from treadle.domain.inventory import ModelEntry
from treadle.errors import ConfigError, ModelTooLarge, ModelUnavailable, TreadleError, UnknownName
from treadle.pool.agents import PoolConfig
from treadle.pool.cards import Card, adopt, cards_of
from treadle.pool.learn import Learnt
from treadle.pool.record import Kind
from treadle.pool.state import Facts
from treadle.pool.state import Resident as OnDevice
from treadle.ports.model_server import ModelServer

_GB = 1_000_000_000
_GUESSED_LOAD_S_PER_GB = 1.0
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0
"""After a loading that failed a model is left alone: the others shall not be evicted for it again and again."""
_LOOK_EVERY_S = 30.0
"""Servers end what is idle, and others may use them too: the pool looks now and then whether all is as it left it."""

OnChanged = Callable[[str, TreadleError | None], None]


class OnEvent(Protocol):
    """Takes a line for the log."""

    def __call__(
        self, kind: Kind, model: str, device: str = "", pool: str = "", *, seconds: float | None = None, note: str = ""
    ) -> None: ...


class Garage:
    """Carries out loadings and evictions, one change per device at a time, and remembers what failed."""

    def __init__(
        self,
        servers: Mapping[str, ModelServer],
        models: Sequence[ModelEntry],
        config: PoolConfig,
        concurrency: Mapping[str, int | None],
        on_event: OnEvent,
        on_changed: OnChanged,
    ) -> None:
        self.cards: list[Card] = []
        self.learnt = Learnt()
        self.loads = 0
        self._servers = dict(servers)
        self._entries = {entry.name: entry for entry in models if entry.service in servers}
        self._config = config
        self._concurrency = concurrency
        self._on_event = on_event
        self._on_changed = on_changed
        self._opening: dict[str, asyncio.Lock] = {}
        self._open: set[str] = set()
        self._doubtful: set[str] = set()
        """Servers that failed, and have not said since what they still have."""
        self._failed: dict[str, tuple[int, float, TreadleError]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def names(self) -> list[str]:
        return list(self._entries)

    def has(self, model: str) -> bool:
        return model in self._entries

    def entry(self, model: str) -> ModelEntry:
        """Raises UnknownName."""
        try:
            return self._entries[model]
        except KeyError:
            raise UnknownName("model", model, self._entries) from None

    def card(self, name: str) -> Card:
        return next(card for card in self.cards if card.name == name)

    async def open_all(self) -> dict[str, TreadleError]:
        """Ask each server what it has; returns what went wrong."""
        problems = {}
        for name in self._servers:
            try:
                await self._open_server(name)
            except TreadleError as error:
                problems[name] = error
        return problems

    async def ready(self, model: str) -> None:
        """See to it that the model may be waited for.

        Raises:
            ModelUnavailable: Its server does not answer, or loading it failed a moment ago.
            ModelTooLarge: It can never fit.
        """
        service = self.entry(model).service
        await self._open_server(service)
        if service in self._doubtful:
            await self._look_again(self._servers[service])
        left = self._pause_of(model)
        if left > 0:
            times, _, error = self._failed[model]
            raise ModelUnavailable(
                f"{error} It is left alone for {left:.0f} s more after {times} failed loading(s).",
                hint=error.hint,
                retry_after_seconds=left,
            )
        facts = self.learnt.facts[model]
        if not any(card.bytes - self._pinned_beside(model) >= facts.bytes for card in self._cards_for(model)):
            raise self.never_fits(model)

    def never_fits(self, model: str) -> ModelTooLarge:
        """Say why a model can never be loaded."""
        cards = self._cards_for(model)
        largest = max((card.bytes for card in cards), default=0) / _GB
        pinned = self._pinned_beside(model) / _GB
        beside = f", of which {pinned:.1f} GB belong to pinned models" if pinned else ""
        return ModelTooLarge(
            f"Model {model!r} takes {self.learnt.facts[model].bytes / _GB:.1f} GB, and the largest device of "
            f"{self.entry(model).service} has {largest:.1f} GB{beside}: it can never be loaded; nothing was asked.",
            hint="Take a smaller model or context, pin less, or raise memory_gb.",
        )

    def seconds_until(self, model: str, waiting: int) -> float:
        """Guess when the model would answer one more request."""
        facts = self.learnt.facts.get(model)
        if facts is None:
            return 0.0 if self.entry(model).service not in self._open else float("inf")
        held = next((card.models[model] for card in self.cards if model in card.models), None)
        busy = waiting + (held.running if held is not None else 0)
        load = 0.0 if held is not None and not held.loading else facts.load_s
        return load + facts.work_s * (busy // facts.slots) + (1e9 if model in self._failed else 0.0)

    def facts(self) -> dict[str, Facts]:
        """What is known of the models, as a decision sees it."""
        known = self.learnt.facts
        if not self._failed:
            return known
        return {**known, **{m: replace(known[m], resting=self._pause_of(m) > 0) for m in self._failed if m in known}}

    def is_resting(self) -> bool:
        """Tell whether a pinned model has to be tried again later."""
        return any(self._config.is_pinned(model) for model in self._failed)

    def failing(self) -> dict[str, str]:
        """Models that could not be loaded when it was last tried."""
        return {model: str(error) for model, (_, _, error) in self._failed.items()}

    def change(self, device: str, victims: Sequence[str], model: str) -> None:
        """Evict and load, in the background. The victims are no longer asked from now on."""
        card = self.card(device)
        for name in victims:
            del card.models[name]
        card.leaving.extend(victims)
        card.models[model] = OnDevice(model, loading=True, used_at=asyncio.get_running_loop().time())
        card.changing = True
        self._begin(self._change(card, tuple(victims), model))

    def look_again(self, server: ModelServer) -> None:
        """A server failed in the middle of an answer: ask what it still has, in the background."""
        self._doubtful.add(server.name)
        self._begin(self._try_to_look_again(server))

    async def close(self) -> None:
        """Stop what is under way, and close the servers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers.values():
            await server.close()

    async def _change(self, card: Card, victims: Sequence[str], model: str) -> None:
        error: TreadleError | None = None
        try:
            for name in victims:
                self._on_event("evict", name, card.name, note=f"for {model}")
                await card.server.unload(self.entry(name).served_as)
                card.leaving.remove(name)
            await self._load(card, model)
        except TreadleError as exc:
            error = exc
        except Exception as exc:  # noqa: BLE001 - a driver's bug must not leave its device changing for ever
            error = ModelUnavailable(f"Model {model!r} could not be loaded: {type(exc).__name__}: {exc}.")
        if error is not None:
            await self._settle(card)
            card.models.pop(model, None)
            error = self._remember_failure(model, error)
            self._on_event("fail", model, card.name, note=str(error))
        card.changing = False
        card.swapped_at = asyncio.get_running_loop().time()
        self._on_changed(model, error)

    async def _load(self, card: Card, model: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._on_event("load", model, card.name)
        resident = await card.server.load(self.entry(model).served_as)
        self.loads += 1
        self._failed.pop(model, None)
        self.learnt.loaded(model, loop.time() - began, resident.bytes)
        card.models[model] = OnDevice(model, used_at=loop.time())
        self._on_event("loaded", model, card.name, seconds=loop.time() - began)
        if sum(self.learnt.facts[name].bytes for name in card.models) > card.bytes:
            # It is larger than was thought. Out with it at once; with its true size the schedule decides anew.
            self._on_event("evict", model, card.name, note=f"it takes {resident.bytes / _GB:.2f} GB, more than thought")
            await card.server.unload(self.entry(model).served_as)
            del card.models[model]

    def _pause_of(self, model: str) -> float:
        """For how many seconds more the model is left alone."""
        _, until, _ = self._failed.get(model, (0, 0.0, None))
        return max(0.0, until - asyncio.get_running_loop().time())

    def _remember_failure(self, model: str, error: TreadleError) -> TreadleError:
        times = self._failed.get(model, (0, 0.0, error))[0] + 1
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (times - 1))
        self._failed[model] = (times, asyncio.get_running_loop().time() + pause, error)
        if isinstance(error, (ModelUnavailable, UnknownName)):
            return error
        return ModelUnavailable(f"Model {model!r} could not be loaded: {error}", hint=error.hint)

    async def _keep_looking(self, server: ModelServer) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self._try_to_look_again(server)

    async def _try_to_look_again(self, server: ModelServer) -> None:
        with suppress(TreadleError):
            await self._look_again(server)

    async def _look_again(self, server: ModelServer) -> None:
        """Ask a server what it has, and believe it. Raises ModelUnavailable: then everything counts as still there."""
        gone = await self._gone(server)
        self._doubtful.discard(server.name)
        for card in self.cards:
            if card.server is server:
                card.forget(gone)
        self._on_changed("", None)

    async def _gone(self, server: ModelServer) -> set[str]:
        """Those models of ours that the server does not have loaded. Raises ModelUnavailable."""
        loaded = {resident.model for resident in await server.residents()}
        return {name for name, entry in self._entries.items() if entry.served_as not in loaded}

    async def _settle(self, card: Card) -> None:
        """After a change that failed: those that were to leave, and have not, stay."""
        try:
            gone = await self._gone(card.server)
        except TreadleError:
            self._doubtful.add(card.server.name)
            gone = set()
        for name in card.leaving:
            if name not in gone:
                card.models[name] = OnDevice(name, used_at=asyncio.get_running_loop().time())
        card.leaving.clear()
        card.forget(gone)

    async def _open_server(self, name: str) -> None:
        if name in self._open:
            return
        async with self._opening.setdefault(name, asyncio.Lock()):
            if name in self._open:
                return
            server = self._servers[name]
            residents = await server.residents()
            cap = round(self._config.memory_gb * _GB) if self._config.memory_gb is not None else None
            cards = cards_of(server, await server.memory(), residents, cap, self._concurrency.get(name))
            if not cards:
                raise ConfigError(
                    f"Nobody says how much memory models may take at {name}; nothing was asked.",
                    hint="Give the service memory_gb in servers.yaml, or all of them memory_gb in pool.toml.",
                )
            sizes = {resident.model: resident.bytes for resident in residents}
            loaded = {}
            for entry in self._entries.values():
                if entry.service == name:
                    self.learnt.know(await self._facts(entry, server, cards, sizes.get(entry.served_as)))
                    if entry.served_as in sizes:
                        loaded[entry.name] = sizes[entry.served_as]
            adopt(cards, loaded, asyncio.get_running_loop().time())
            self.cards.extend(cards)
            self._open.add(name)
            self._begin(self._keep_looking(server))

    async def _facts(self, entry: ModelEntry, server: ModelServer, cards: Sequence[Card], size: int | None) -> Facts:
        """What is known beforehand. A size that nobody knows is taken as a whole device, until it has been loaded."""
        if size is None and entry.size_gb is not None:
            size = round(entry.size_gb * _GB)
        if size is None:
            try:
                size = await server.size_bytes(entry.served_as)
            except TreadleError:
                size = None  # loading it will tell what is wrong with it
        pinned = self._config.is_pinned(entry.name)
        largest = max(card.bytes for card in cards)
        facts = Facts(
            entry.name,
            largest if size is None else size,
            load_s=0.5 + _GUESSED_LOAD_S_PER_GB * (largest if size is None else size) / _GB,
            devices=tuple(card.name for card in cards),
            slots=self._config.slots_of(entry.name) or self._concurrency.get(entry.service) or 1,
            pinned=pinned,
        )
        if not pinned or len(cards) == 1:
            return facts
        # A pinned model has one place, the one with most room when it is its turn.
        taken = {card.name: sum(f.bytes for f in self.learnt.facts.values() if f.pinned and f.devices[0] == card.name)
                 for card in cards}  # fmt: skip
        home = max(cards, key=lambda card: card.bytes - taken[card.name])
        return replace(facts, devices=(home.name,))

    def _cards_for(self, model: str) -> list[Card]:
        devices = self.learnt.facts[model].devices
        return [card for card in self.cards if card.name in devices]

    def _pinned_beside(self, model: str) -> int:
        """Bytes that belong to pinned models on the device of a model that is not alone there: the least of them."""
        cards = self._cards_for(model)
        pinned = [f for f in self.learnt.facts.values() if f.pinned and f.model != model]
        return min((sum(f.bytes for f in pinned if f.devices[0] == card.name) for card in cards), default=0)

    def _begin(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
