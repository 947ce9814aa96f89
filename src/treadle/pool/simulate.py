"""Play a workload through the schedule, on one device that does one thing at a time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace

from treadle.pool.learn import Learnt
from treadle.pool.policy import Policy
from treadle.pool.queues import Queues
from treadle.pool.schedule import decide
from treadle.pool.state import Device, Evict, Facts, Load, Resident, Soon, Start, View
from treadle.pool.workload import Asked, Workload

_DEVICE = "gpu0"


@dataclass(frozen=True, slots=True)
class Result:
    """How a workload went. A swap is a loading; waiting ends when a request is started."""

    policy: str
    swaps: int
    makespan_s: float
    wait_mean_s: float
    wait_p95_s: float
    wait_max_s: float

    def to_dict(self) -> dict[str, float | int | str]:
        return asdict(self)


@dataclass(slots=True)
class _Machine:
    """The machine under simulation: its clock, its memory, what waits."""

    workload: Workload
    policy: Policy
    device: Device
    lookahead_s: float = 0.0
    now: float = 0.0
    queues: Queues[Asked] = field(default_factory=Queues)
    learnt: Learnt = field(default_factory=Learnt)
    arrived: int = 0
    swaps: int = 0
    waits: list[float] = field(default_factory=list)

    def view(self) -> View:
        return View(self.now, (self.device,), self.learnt.facts, self.queues.lines(), self._soon())

    def arrive(self) -> None:
        requests = self.workload.requests
        while self.arrived < len(requests) and requests[self.arrived].at_s <= self.now:
            request = requests[self.arrived]
            self.queues.put(request.model, request, request.at_s)
            self.learnt.asked(request.model, request.at_s)
            self.arrived += 1

    def step(self) -> bool:
        """Carry out one decision; returns whether anything was done."""
        for action in decide(self.view(), self.policy):
            if isinstance(action, Evict):
                residents = {n: r for n, r in self.device.residents.items() if n != action.model}
                self.device = replace(self.device, residents=residents)
            elif isinstance(action, Load):
                self._load(action.model)
                return True
            elif isinstance(action, Start):
                self._run(action)
                return True
        return False

    def _load(self, model: str) -> None:
        self.swaps += 1
        self.now += self.workload.models[model].load_s
        residents = {**self.device.residents, model: Resident(model, used_at=self.now)}
        if sum(self.workload.models[name].bytes for name in residents) > self.workload.capacity:
            raise AssertionError(f"{sorted(residents)} do not fit together")  # the schedule broke its promise
        self.device = replace(self.device, residents=residents, swapped_at=self.now)

    def _run(self, start: Start) -> None:
        _, request = self.queues.take(start.model, interactive=start.interactive)
        self.waits.append(self.now - request.at_s)
        self.now += request.duration_s
        self.learnt.answered(start.model, request.duration_s)
        residents = {**self.device.residents, start.model: Resident(start.model, used_at=self.now)}
        self.device = replace(self.device, residents=residents)

    def _soon(self) -> tuple[Soon, ...]:
        if self.lookahead_s <= 0:
            return ()
        first: dict[str, Soon] = {}
        for request in self.workload.requests[self.arrived :]:
            if request.at_s > self.now + self.lookahead_s:
                break
            known = first.get(request.model)
            count, at = (known.count + 1, known.at) if known else (1, request.at_s)
            first[request.model] = Soon(request.model, count, at)
        return tuple(first.values())


def simulate(workload: Workload, policy: Policy, *, lookahead_s: float = 0.0) -> Result:
    """Play the workload to its end. Deterministic.

    Args:
        lookahead_s: How far ahead the schedule is told what will be asked, as a graph would tell it.
    """
    device = Device(_DEVICE, workload.capacity, slots=1, loads_alone=True)
    machine = _Machine(workload, policy, device, lookahead_s)
    for name, sized in workload.models.items():
        machine.learnt.know(Facts(name, sized.bytes, sized.load_s, (_DEVICE,)))
    while machine.arrived < len(workload.requests) or len(machine.queues):
        machine.arrive()
        if not machine.step():
            machine.now = max(machine.now, workload.requests[machine.arrived].at_s)
    return _result(policy.name, machine)


def _result(name: str, machine: _Machine) -> Result:
    waits = sorted(machine.waits)
    if not waits:
        return Result(name, machine.swaps, 0.0, 0.0, 0.0, 0.0)
    p95 = waits[max(0, math.ceil(0.95 * len(waits)) - 1)]
    return Result(name, machine.swaps, machine.now, math.fsum(waits) / len(waits), p95, waits[-1])
