"""The live side of devices: what is on them now, kept in step with what their server says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from treadle.pool.record import DeviceNow, Held
from treadle.pool.state import Device, Facts
from treadle.pool.state import Resident as OnDevice
from treadle.ports.model_server import Memory, ModelServer, Resident


@dataclass(slots=True)
class Card:
    """One device of one server. Changed only by the pool, between two awaits."""

    name: str
    server: ModelServer
    bytes: int
    slots: int | None = None
    models: dict[str, OnDevice] = field(default_factory=dict)
    leaving: list[str] = field(default_factory=list)
    """Being unloaded: they still hold memory, and are no longer asked."""
    changing: bool = False
    swapped_at: float = float("-inf")

    def seen(self) -> Device:
        """The device as a decision sees it."""
        return Device(
            self.name, self.bytes, dict(self.models), self.slots, swapped_at=self.swapped_at, changing=self.changing
        )

    def now(self, facts: Mapping[str, Facts]) -> DeviceNow:
        """The device as people see it. What is still to be loaded counts as soon as those before it have left."""
        held = [
            Held(one.model, facts[one.model].bytes, "loading" if one.loading else "ready", one.running,
                 facts[one.model].pinned)
            for one in self.models.values()
        ]  # fmt: skip
        held += [Held(name, facts[name].bytes, "leaving") for name in self.leaving]
        used = sum(one.bytes for one in held if not (one.state == "loading" and self.leaving))
        return DeviceNow(self.name, self.bytes, used, tuple(held))

    def count(self, model: str, change: int, now: float) -> None:
        """A request for the model begins or ends."""
        one = self.models.get(model)
        if one is not None:
            self.models[model] = replace(one, running=max(0, one.running + change), used_at=now)

    def forget(self, gone: set[str]) -> None:
        """The server no longer has these."""
        for name in gone & self.models.keys():
            if not self.models[name].running and not self.models[name].loading:
                del self.models[name]


def cards_of(
    server: ModelServer, memory: Sequence[Memory], residents: Sequence[Resident], cap: int | None, slots: int | None
) -> list[Card]:
    """Lay out a server's devices. What somebody else takes of a graphics card is not ours to give."""
    cards = []
    for one in memory:
        # Only NVML sees what other programs hold; elsewhere `used` is what the server's own models take.
        ours = sum(resident.bytes for resident in residents) // max(1, len(memory))
        foreign = max(0, one.used_bytes - ours) if one.source == "nvml" else 0
        room = max(0, one.total_bytes - foreign)
        name = one.device if server.name == one.device else f"{server.name}/{one.device}"
        cards.append(Card(name, server, min(room, cap) if cap is not None else room, slots))
    if not cards and cap is not None:
        return [Card(server.name, server, cap, slots)]
    return cards


def adopt(cards: Sequence[Card], sizes: Mapping[str, int], now: float) -> None:
    """Enter models that are loaded already, each where most room is left."""
    left = {card.name: card.bytes for card in cards}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        card = max(cards, key=lambda card: left[card.name])
        card.models[name] = OnDevice(name, used_at=now)
        left[card.name] -= size
