"""What to load, evict, start and hold back. Pure: the same view and policy always give the same decision.

Its cost depends on how many models are waited for, not on how many requests wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from treadle.pool.policy import Policy
from treadle.pool.room import Floor, can_hold, cheapest, first_of, needed, reserved
from treadle.pool.state import Action, Device, Evict, Hold, Line, Load, Soon, Start, View

NEVER_FITS = "it is larger than every device that may hold it"
IS_CHANGING = "another model is being loaded"
IS_LOADING = "it is being loaded"
IS_FULL = "all slots are taken"
LOADED_FIRST = "work for loaded models comes first"
IN_USE = "the models that would have to leave are in use"
GIVES_WAY = "it gives way to a model that has waited too long"
BEHIND = "an older request comes first"

_CREDIT = 1 / 60
"""Waiting counts in the choice of what to load: a minute of one request like one request per second of loading."""
_SOON_S = 30.0
"""Requests expected within this, beyond the time of loading, count as if they waited."""

_SITS = 1e9
"""Added for somebody who sits there: before any amount of other work."""
_INSTANT_S = 0.001
"""Added to a loading time: even one that takes no time is better not done."""

Swap = tuple[str, tuple[str, ...]]
"""A model to load, and those who leave for it."""


def decide(view: View, policy: Policy) -> list[Action]:
    """Decide what to do now.

    Evictions come before the load that they make room for. Whoever carries the decision out applies it to the state and
    asks again, until nothing but holds is left. Never evicts a model that is in use, never loads above what a device
    has, never loads two models of one device at once.
    """
    waiting: dict[str, int] = {}
    for line in view.lines:
        waiting[line.model] = waiting.get(line.model, 0) + line.count
    placed = _placed(view, waiting)
    soon = _first_soon(view.soon)
    actions: list[Action] = [Hold(line.model, NEVER_FITS) for line in view.lines if placed.get(line.model, "") == ""]
    for device in view.devices:
        here = [line for line in view.lines if placed[line.model] == device.name]
        floor = Floor(
            view,
            device,
            ready=[line for line in here if line.model in device.residents],
            absent=[line for line in here if line.model not in device.residents],
            soon={name: s for name, s in soon.items() if placed.get(name) == device.name},
            waiting=waiting,
        )
        actions += _ORDERS[policy.order](floor, policy)
    return actions


def fits_somewhere(view: View, model: str) -> bool:
    """Tell whether the model can ever be loaded."""
    return any(can_hold(view, device, view.facts[model]) for device in view.devices)


def _by_work(floor: Floor, policy: Policy) -> Iterator[Action]:
    """Serve what is loaded; change to what is due, else, when memory has nothing to do, to what is worth most."""
    device = floor.device
    if device.loads_alone and (device.changing or device.running):
        yield from _holds(floor.absent, IS_CHANGING if device.changing else LOADED_FIRST)
        yield from _starts(floor, policy) if not device.changing and not _due(floor, policy) else ()
        return
    due = _due(floor, policy)
    swap = due or _worthwhile(floor)
    leaving = frozenset(swap[1]) if swap is not None else frozenset()
    is_free = swap is not None and not any(floor.is_used(name) for name in leaving)
    loading = ""
    if swap is not None and is_free:
        loading = swap[0]
        yield from _change(floor, swap)
    if loading and device.loads_alone:
        yield from _holds(floor.ready, IS_CHANGING)
    else:
        yield from _starts(floor, policy, leaving)
    why = IS_CHANGING if device.changing or loading else IN_USE if due or not floor.ready else LOADED_FIRST
    yield from _holds((line for line in floor.absent if line.model != loading), why)


def _by_arrival(floor: Floor, policy: Policy) -> Iterator[Action]:
    """Serve strictly in the order of arrival; the least recently used leaves."""
    device = floor.device
    lines = sorted((*floor.ready, *floor.absent), key=_age)
    if not lines:
        return
    head, busy = lines[0], device.loads_alone and device.running > 0
    if head.model in device.residents:
        started = list(_starts_of(floor, [head], one=True))
        yield from started
        yield from _holds(lines[1:], BEHIND)
        return
    order = sorted(floor.evictable(), key=lambda name: device.residents[name].used_at)
    victims = first_of(floor, head.model, order)
    if device.changing or busy or victims is None or any(floor.is_used(name) for name in victims):
        yield Hold(head.model, IS_CHANGING if device.changing else IN_USE)
    else:
        yield from _change(floor, (head.model, victims))
    yield from _holds(lines[1:], BEHIND)


def _by_ollama(floor: Floor, policy: Policy) -> Iterator[Action]:
    """Serve what is loaded; the oldest of the others blocks the rest; of the idle, the shortest kept leaves."""
    device = floor.device
    starts = [] if device.loads_alone and device.changing else list(_starts_of(floor, _oldest_first(floor.ready)))
    yield from starts
    absent = _oldest_first(floor.absent)
    if not absent:
        return
    head = absent[0]
    running = {action.model for action in starts if isinstance(action, Start)}
    busy = device.loads_alone and (device.running > 0 or bool(running))
    idle = [name for name in floor.evictable() if not floor.is_used(name) and name not in running]
    victims = first_of(floor, head.model, sorted(idle, key=lambda name: (floor.facts(name).keep_s, name)))
    if device.changing or busy or victims is None:
        yield Hold(head.model, IS_CHANGING if device.changing else IN_USE)
    else:
        yield from _change(floor, (head.model, victims))
    yield from _holds(absent[1:], BEHIND)


_ORDERS = {"work": _by_work, "arrival": _by_arrival, "ollama": _by_ollama}


def _due(floor: Floor, policy: Policy) -> Swap | None:
    """Find the model that may push out models with work: it has waited too long, or somebody sits before it."""
    if floor.device.changing or not floor.absent:
        return None
    for line in sorted(floor.absent, key=lambda line: (not _is_urgent(line, floor, policy), _age(line))):
        victims = cheapest(floor, line.model)
        if victims is None:
            continue
        behind = floor.ready if floor.device.loads_alone else [r for r in floor.ready if r.model in victims]
        used = any(floor.is_used(name) for name in victims)
        is_due = (behind or used) and _outranks(line, behind, victims, floor, policy)
        # A younger one never goes first: it would begin a new quantum, again and again.
        return (line.model, victims) if is_due else None
    return None


def _outranks(line: Line, rivals: Sequence[Line], victims: Iterable[str], floor: Floor, policy: Policy) -> bool:
    somebody_sits = any(rival.interactive for rival in rivals)
    if line.interactive and not somebody_sits:
        return True
    if somebody_sits and not _is_urgent(line, floor, policy):
        return False
    oldest = min((rival.oldest for rival in rivals), default=floor.now)
    if oldest - line.oldest <= policy.patience_s:
        return False
    again = sum(floor.facts(name).load_s for name in victims if floor.waiting.get(name))
    cost = floor.facts(line.model).load_s + again
    return floor.now - floor.device.swapped_at > policy.quantum_loads * cost


def _is_urgent(line: Line, floor: Floor, policy: Policy) -> bool:
    return line.interactive or floor.now - line.oldest > policy.promote_s


def _worthwhile(floor: Floor) -> Swap | None:
    """Find what to load without taking anything from a model with work: pinned, then waited for, then expected."""
    device = floor.device
    if device.changing:
        return None
    for facts in floor.view.facts.values():
        if facts.resting or not facts.pinned or facts.model in device.residents:
            continue
        if facts.devices[0] == device.name:
            victims = cheapest(floor, facts.model) if can_hold(floor.view, device, facts) else None
            return (facts.model, victims) if victims is not None else None
    if floor.ready and device.loads_alone:
        return None
    for model in _by_worth(floor):
        victims = cheapest(floor, model)
        if victims is None or any(floor.waiting.get(name) or floor.is_used(name) for name in victims):
            continue
        if not _is_worth_waiting(floor, model, victims):
            return model, victims
    return _ahead(floor) if not floor.absent else None


def _by_worth(floor: Floor) -> list[str]:
    """Order the models that are waited for: the most work, waiting or soon to come, per load cost first."""
    worth = dict.fromkeys((line.model for line in floor.absent), 0.0)
    usual = sum(floor.facts(model).work_s for model in worth) / max(1, len(worth)) or 1.0
    for line in floor.absent:
        facts = floor.facts(line.model)
        per_request = facts.work_s / usual / (facts.load_s + _INSTANT_S)
        worth[line.model] += line.count * per_request + _CREDIT * line.waited(floor.now)
        worth[line.model] += _SITS if line.interactive else 0.0
        expected = floor.soon.get(line.model)
        if expected is not None and expected.at - floor.now <= facts.load_s + _SOON_S:
            worth[line.model] += expected.count * per_request
    return sorted(worth, key=lambda model: -worth[model])


def _is_worth_waiting(floor: Floor, model: str, victims: Iterable[str]) -> bool:
    """Tell whether one that would leave is wanted again so soon that waiting for it is cheaper than two loadings."""
    if any(line.interactive or floor.now - line.oldest > _SOON_S for line in floor.absent if line.model == model):
        return False
    wanted = (floor.soon[name].at - floor.now < floor.facts(name).load_s for name in victims if name in floor.soon)
    return any(wanted)


def _ahead(floor: Floor) -> Swap | None:
    """Find a model that will be wanted before any that would leave for it."""
    for expected in sorted(floor.soon.values(), key=lambda s: s.at):
        model = expected.model
        if model in floor.device.residents or floor.facts(model).resting:
            continue
        if expected.at - floor.now > floor.facts(model).load_s + _SOON_S:
            break
        victims = cheapest(floor, model)
        if victims is None or any(floor.waiting.get(name) or floor.is_used(name) for name in victims):
            continue
        if all(name not in floor.soon or floor.soon[name].at > expected.at for name in victims):
            return model, victims
    return None


def _starts(floor: Floor, policy: Policy, leaving: frozenset[str] = frozenset()) -> Iterator[Action]:
    """Start what loaded models have slots for: somebody who sits there first, then the oldest."""
    if floor.device.loads_alone and leaving:
        yield from _holds(floor.ready, GIVES_WAY)
        return
    lines = sorted(floor.ready, key=lambda line: (not _is_urgent(line, floor, policy), _age(line)))
    yield from _holds((line for line in lines if line.model in leaving), GIVES_WAY)
    yield from _starts_of(floor, [line for line in lines if line.model not in leaving])


def _starts_of(floor: Floor, lines: Iterable[Line], *, one: bool = False) -> Iterator[Action]:
    device = floor.device
    left = device.slots - device.running if device.slots is not None else None
    if device.loads_alone and device.changing:
        left = 0
    begun: dict[str, int] = {}
    for line in lines:
        resident = device.residents[line.model]
        free = floor.facts(line.model).slots - resident.running - begun.get(line.model, 0)
        count = max(0, min(line.count, free, 1 if one else free, free if left is None else left))
        if resident.loading or count == 0:
            yield Hold(line.model, IS_LOADING if resident.loading else IS_FULL)
            continue
        yield Start(line.model, device.name, count, line.interactive)
        begun[line.model] = begun.get(line.model, 0) + count
        left = None if left is None else left - count
        if count < line.count:
            yield Hold(line.model, IS_FULL)


def _change(floor: Floor, swap: Swap) -> Iterator[Action]:
    model, victims = swap
    for name in victims:
        yield Evict(name, floor.device.name)
    yield Load(model, floor.device.name, ahead=not floor.waiting.get(model))


def _holds(lines: Iterable[Line], reason: str) -> Iterator[Action]:
    return (Hold(line.model, reason) for line in lines)


def _age(line: Line) -> tuple[float, int]:
    return line.oldest, line.number


def _oldest_first(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=_age)


def _placed(view: View, waiting: Mapping[str, int]) -> dict[str, str]:
    """Say of each model that is waited for or expected where it is, or would be loaded; "" if nowhere."""
    placed = {name: device.name for device in view.devices for name in device.residents}
    wanted = {line.model for line in view.lines} | {expected.model for expected in view.soon}
    for model in wanted - placed.keys():
        placed[model] = _place(view, model, waiting)
    return placed


def _place(view: View, model: str, waiting: Mapping[str, int]) -> str:
    facts = view.facts[model]
    able = [device for device in view.devices if can_hold(view, device, facts)]
    if len(able) <= 1:
        return able[0].name if able else ""
    return min(able, key=lambda device: _trouble(view, device, model, waiting)).name


def _trouble(view: View, device: Device, model: str, waiting: Mapping[str, int]) -> tuple[int, bool, int, float]:
    """Weigh where a model would be in the way least: free memory first, then few who wait, then the tightest fit."""
    floor = Floor(view, device, (), (), {}, waiting)
    disturbed = sum(waiting.get(name, 0) + r.running for name, r in device.residents.items())
    missing = needed(floor, model)
    room = device.bytes - reserved(view, device) - view.facts[model].bytes
    return (disturbed if missing else 0, missing > 0, missing, room)


def _first_soon(soon: Sequence[Soon]) -> dict[str, Soon]:
    first: dict[str, Soon] = {}
    for expected in sorted(soon, key=lambda s: s.at):
        first.setdefault(expected.model, expected)
    return first
