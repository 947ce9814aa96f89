"""Room on a device: whether a model fits, and which models would have to leave for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from treadle.pool.state import Device, Facts, Line, Soon, View

_EXACT = 6
"""Up to this many residents every choice of victims is weighed; above, one after the other."""
_WANTED = 1000.0
"""How much dearer it is to evict a model for which requests wait."""
_EXPECTED = 100.0
"""How much dearer it is to evict a model that is wanted within the second; less the later."""


@dataclass(frozen=True, slots=True)
class Floor:
    """One device and what concerns it: its lines, its facts, what is pinned to it."""

    view: View
    device: Device
    ready: Sequence[Line]
    """Lines of models that are loaded here."""
    absent: Sequence[Line]
    """Lines of models that are not loaded, and would be loaded here."""
    soon: Mapping[str, Soon]
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Requests that wait, by model."""

    @property
    def now(self) -> float:
        return self.view.now

    def facts(self, model: str) -> Facts:
        return self.view.facts[model]

    def free(self) -> int:
        """What non-pinned models may still take."""
        taken = sum(self.facts(name).bytes for name in self.device.residents if not self.facts(name).pinned)
        return self.device.bytes - reserved(self.view, self.device) - taken

    def is_used(self, model: str) -> bool:
        """Tell whether evicting it now would harm anybody."""
        resident = self.device.residents[model]
        return resident.running > 0 or resident.loading

    def evictable(self) -> list[str]:
        return [n for n, r in self.device.residents.items() if not self.facts(n).pinned and not r.loading]


def reserved(view: View, device: Device) -> int:
    """Sum what the models take that are pinned to this device, loaded or not."""
    return sum(f.bytes for f in view.facts.values() if f.pinned and f.devices[:1] == (device.name,))


def can_hold(view: View, device: Device, facts: Facts) -> bool:
    """Tell whether the model fits when everything leaves that may leave."""
    if device.name not in facts.devices:
        return False
    if facts.pinned:
        return facts.devices[0] == device.name and reserved(view, device) <= device.bytes
    return facts.bytes <= device.bytes - reserved(view, device)


def needed(floor: Floor, model: str) -> int:
    """Bytes that must be freed before the model fits; a pinned one has its place."""
    facts = floor.facts(model)
    return max(0, (0 if facts.pinned else facts.bytes) - floor.free())


def cheapest(floor: Floor, model: str) -> tuple[str, ...] | None:
    """Choose whom to evict so that least loading is done again later; None: it cannot fit.

    A model for which requests wait, or soon will, is taken only if there is no other way.
    """
    need = needed(floor, model)
    if need == 0:
        return ()
    costs = {name: _cost(floor, name) for name in floor.evictable()}
    sizes = {name: floor.facts(name).bytes for name in costs}
    if sum(sizes.values()) < need:
        return None
    if len(costs) > _EXACT:
        return _one_by_one(costs, sizes, need)
    choices = (c for k in range(1, len(costs) + 1) for c in combinations(costs, k))
    fitting = (c for c in choices if sum(sizes[name] for name in c) >= need)
    return min(fitting, key=lambda c: sum(costs[name] for name in c))


def first_of(floor: Floor, model: str, order: Iterable[str]) -> tuple[str, ...] | None:
    """Evict in this order until the model fits; None: it does not even then."""
    need = needed(floor, model)
    victims = []
    for name in order:
        if need <= 0:
            break
        victims.append(name)
        need -= floor.facts(name).bytes
    return tuple(victims) if need <= 0 else None


def _cost(floor: Floor, name: str) -> float:
    facts = floor.facts(name)
    total = sum(floor.facts(other).asked for other in floor.device.residents) or 1.0
    cost = (facts.load_s + 0.001) * (0.1 + facts.asked / total)
    cost *= 1 + _WANTED * floor.waiting.get(name, 0)
    if name in floor.soon:
        cost *= 1 + _EXPECTED / (1 + max(0.0, floor.soon[name].at - floor.now))
    return cost


def _one_by_one(costs: Mapping[str, float], sizes: Mapping[str, int], need: int) -> tuple[str, ...]:
    """Take the cheapest per byte until it suffices; then give back, the dearest first, what was not needed."""
    victims: list[str] = []
    for name in sorted(costs, key=lambda n: costs[n] / max(1, sizes[n])):
        victims.append(name)
        need -= sizes[name]
        if need <= 0:
            break
    for name in sorted(victims, key=lambda n: -costs[n]):
        if need + sizes[name] <= 0:
            victims.remove(name)
            need += sizes[name]
    return tuple(victims)
