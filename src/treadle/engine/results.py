"""What the orchestrator takes and gives: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from treadle.domain.state import State, Values
from treadle.domain.task import RunStatus

Where = Literal["here", "known", "elsewhere"]
"""Which nodes a worker runs: all of them (one without a function is an error); those whose functions it knows, and it
offers the others; none, it only plans."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question of a run that nobody has answered yet."""

    activation: str
    key: str
    node: str
    value: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a run's history."""

    seq: int
    at: float
    activation: str
    node: str
    update: Values


class Result(State):
    """The state in which a run came to rest."""

    __slots__ = ("interrupts", "status")

    def __init__(self, values: Values, run_id: str, status: RunStatus, interrupts: Sequence[Interrupt] = ()) -> None:
        super().__init__(values, workflow_id=run_id)
        self.status = status
        self.interrupts = tuple(interrupts)

    @property
    def run_id(self) -> str:
        return self.workflow_id


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What may be said when a run starts."""

    run_id: str | None = None
    tenant: str = "default"
    project: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    deadline_seconds: float | None = None
    budgets: Mapping[str, float] = field(default_factory=dict)
    """Limits by kind: `tokens`, `money`, `steps`, `seconds`."""
    delay_seconds: float | None = None
    """Begin so much later; until then the run is `pending`. Its deadline counts from its beginning."""
    at: datetime | None = None
    """Begin then, by the store's clock; without a time zone it is local time. What is past is now."""
    dedup: str | None = None
    """While a run of this graph with the same key is live, starting another gives that one's id."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to rest."""

    status: RunStatus
    values: Values | None
    """The last state, if it is at hand."""
    error: str | None


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker behaves. Seconds."""

    capacity: int = 100
    """Tasks run at once."""
    processes: int = 0
    """Functions that are `cpu_bound` run at once, each in a process. 0: one for each core."""
    queues: tuple[str, ...] = ("default",)
    """Where `where` is "here", also those that nodes of known graphs name."""
    lease_seconds: float = 10.0
    sweep_seconds: float = 2.0
    poll_seconds: float = 1.0
    """How late a change by another process may be noticed if no wake-up comes."""
    max_deaths: int = 5
    """A task whose holders died so often is quarantined."""
    heartbeat: bool = True
    where: Where = "here"
    serve: bool = True
    """Look for work in the store; without it, only what is handed on is run."""
