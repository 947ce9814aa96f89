"""Devices that carry decisions out, slots and loadings side by side, and check what must hold after each."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

from treadle.pool.policy import Policy
from treadle.pool.queues import Queues
from treadle.pool.schedule import decide
from treadle.pool.state import Device, Evict, Facts, Load, Resident, Start, View


@dataclass(order=True)
class Happening:
    at: float
    number: int
    what: str = field(compare=False)
    model: str = field(compare=False)
    device: str = field(compare=False, default="")
    seconds: float = field(compare=False, default=0.0)
    interactive: bool = field(compare=False, default=False)


class World:
    """Plays arrivals, endings and loadings in the order of their times."""

    def __init__(self, devices: list[Device], known: list[Facts], policy: Policy) -> None:
        self.devices = {device.name: device for device in devices}
        self.facts = {facts.model: facts for facts in known}
        self.policy = policy
        self.queues: Queues[Happening] = Queues()
        self.now = 0.0
        self.agenda: list[Happening] = []
        self.waits: dict[str, list[float]] = {}
        self.loads = 0
        self._number = 0

    def ask(self, at: float, model: str, seconds: float, *, interactive: bool = False) -> None:
        self._add(at, "ask", model, seconds=seconds, interactive=interactive)

    def play(self) -> None:
        """Go on until nothing happens any more. What then still waits is in `queues`."""
        while self.agenda:
            event = heapq.heappop(self.agenda)
            self.now = event.at
            getattr(self, f"_{event.what}")(event)
            while self._decide():
                pass
            if not self.agenda and len(self.queues):
                # Nothing will happen by itself: only the clock can make a model due.
                for _ in range(100):
                    self.now += 100.0
                    if self._decide():
                        break

    def _decide(self) -> bool:
        view = View(self.now, list(self.devices.values()), self.facts, self.queues.lines())
        done = [self._carry_out(action) for action in decide(view, self.policy) if not hasattr(action, "reason")]
        self.check()
        return bool(done)

    def _carry_out(self, action: object) -> None:
        if isinstance(action, Start):
            for _ in range(action.count):
                at, request = self.queues.take(action.model, interactive=action.interactive)
                self.waits.setdefault(action.model, []).append(self.now - at)
                self._running(action.device, action.model, 1)
                self._add(self.now + request.seconds, "end", action.model, action.device)
        elif isinstance(action, Evict):
            device = self.devices[action.device]
            gone = device.residents[action.model]
            assert gone.running == 0 and not gone.loading, f"{action.model} was in use"
            assert not self.facts[action.model].pinned
            kept = {name: one for name, one in device.residents.items() if name != action.model}
            self.devices[action.device] = replace(device, residents=kept)
        elif isinstance(action, Load):
            device = self.devices[action.device]
            assert not device.changing and all(action.model not in d.residents for d in self.devices.values())
            assert not (device.loads_alone and device.running)
            self.loads += 1
            held = {**device.residents, action.model: Resident(action.model, loading=True, used_at=self.now)}
            self.devices[action.device] = replace(device, residents=held, changing=True)
            self._add(self.now + self.facts[action.model].load_s, "loaded", action.model, action.device)

    def check(self) -> None:
        for device in self.devices.values():
            assert sum(self.facts[name].bytes for name in device.residents) <= device.bytes, "above capacity"
            assert device.slots is None or device.running <= device.slots, "above the device's slots"
            for one in device.residents.values():
                assert one.running <= self.facts[one.model].slots, "above the model's slots"
                assert not (one.loading and one.running), "started while loading"

    def _ask(self, event: Happening) -> None:
        self.queues.put(event.model, event, event.at, interactive=event.interactive)

    def _end(self, event: Happening) -> None:
        self._running(event.device, event.model, -1)

    def _loaded(self, event: Happening) -> None:
        device = self.devices[event.device]
        held = {**device.residents, event.model: Resident(event.model, used_at=self.now)}
        self.devices[event.device] = replace(device, residents=held, changing=False, swapped_at=self.now)

    def _running(self, name: str, model: str, change: int) -> None:
        device = self.devices[name]
        one = device.residents[model]
        held = {**device.residents, model: replace(one, running=one.running + change, used_at=self.now)}
        self.devices[name] = replace(device, residents=held)

    def _add(self, at: float, what: str, model: str, device: str = "", **more: object) -> None:
        self._number += 1
        heapq.heappush(self.agenda, Happening(at, self._number, what, model, device, **more))  # type: ignore[arg-type]
