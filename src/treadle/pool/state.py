"""What the schedule sees and what it decides. Values only; times are seconds of any one clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model."""

    model: str
    bytes: int
    """Memory that it takes when loaded, weights and context."""
    load_s: float
    """How long loading it takes."""
    devices: tuple[str, ...]
    """Where it may be loaded. It is on one of them at a time."""
    slots: int = 1
    """Requests that it answers at once."""
    pinned: bool = False
    """Once loaded it stays, and room for it is never given to others."""
    work_s: float = 1.0
    """How long one request usually takes."""
    asked: float = 1.0
    """How often it has been asked lately, against the others."""
    resting: bool = False
    """Loading it failed a moment ago: it is not loaded unasked."""
    keep_s: float = 300.0
    """How long Ollama would keep it idle; only the policy `ollama` looks at it."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that holds memory of a device."""

    model: str
    running: int = 0
    """Requests that it is answering."""
    loading: bool = False
    used_at: float = 0.0
    """When it last took on or finished a request, or was loaded."""


@dataclass(frozen=True, slots=True)
class Device:
    """One graphics card, or the memory of a machine: what models share."""

    name: str
    bytes: int
    """What models may take of it together."""
    residents: Mapping[str, Resident] = field(default_factory=dict)
    slots: int | None = None
    """Requests at once, of all models together; None: as many as the models' own slots allow."""
    loads_alone: bool = False
    """Nothing runs while a model is being loaded, and nothing is loaded while something runs."""
    swapped_at: float = float("-inf")
    """When the last loading ended."""
    changing: bool = False
    """A model is being evicted or loaded."""

    @property
    def running(self) -> int:
        return sum(resident.running for resident in self.residents.values())


@dataclass(frozen=True, slots=True)
class Line:
    """Requests that wait for one model: all of one kind, the oldest first."""

    model: str
    count: int
    oldest: float
    """When the first of them came."""
    arrived_sum: float
    """Sum of the times at which they came."""
    interactive: bool = False
    """Somebody sits before it."""
    number: int = 0
    """Of the first of them, counted over all lines; tells who was first of those that came at once."""

    def waited(self, now: float) -> float:
        """Seconds that all of them have waited together."""
        return max(0.0, self.count * now - self.arrived_sum)


@dataclass(frozen=True, slots=True)
class Soon:
    """Requests that are not here yet, but whose graph says that they come."""

    model: str
    count: int
    at: float
    """When the first of them is expected."""


@dataclass(frozen=True, slots=True)
class View:
    """Everything that a decision rests on."""

    now: float
    devices: Sequence[Device]
    facts: Mapping[str, Facts]
    lines: Sequence[Line]
    soon: Sequence[Soon] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Let the oldest `count` requests of a line go."""

    model: str
    device: str
    count: int
    interactive: bool


@dataclass(frozen=True, slots=True)
class Evict:
    """Unload a model that nobody uses."""

    model: str
    device: str


@dataclass(frozen=True, slots=True)
class Load:
    """Load a model, after the evictions that precede it in the decision."""

    model: str
    device: str
    ahead: bool = False
    """Nobody asks for it yet."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Let requests for a model wait, and say why."""

    model: str
    reason: str


Action = Start | Evict | Load | Hold
