"""What the pool did, as it can be looked at: its log, and how things stand."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["load", "loaded", "evict", "start", "finish", "hold", "fail", "give_up"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Happened:
    """One line of a pool's log."""

    at: float
    """Seconds since the epoch."""
    pool: str
    """The agent pool whose request it was, or whose model."""
    kind: Kind
    model: str
    device: str = ""
    seconds: float | None = None
    """How long it took: loading, or answering."""
    waited: float | None = None
    """For `start`: how long the request waited."""
    note: str = ""
    """For `hold` and `fail`: why."""


OnHappened = Callable[[Happened], None]


class Log:
    """The last lines of each agent pool."""

    def __init__(self, keep: int = 500, on_happened: OnHappened | None = None) -> None:
        self._keep = keep
        self._lines: dict[str, deque[Happened]] = {}
        self._on_happened = on_happened

    def add(self, line: Happened) -> None:
        """Take in one line. Whoever listens must not fail; if so, that is logged, and no more."""
        self._lines.setdefault(line.pool, deque(maxlen=self._keep)).append(line)
        _LOG.debug("pool %s: %s %s %s", line.pool, line.kind, line.model, line.note)
        if self._on_happened is not None:
            try:
                self._on_happened(line)
            except Exception:  # noqa: BLE001 - a listener is no part of the pool
                _LOG.exception("who listens to the pool's log failed")

    def lines(self, pool: str | None = None) -> list[Happened]:
        """The lines of one agent pool, or of all, in the order in which they happened."""
        if pool is not None:
            return list(self._lines.get(pool, ()))
        return sorted((line for lines in self._lines.values() for line in lines), key=lambda line: line.at)


@dataclass(frozen=True, slots=True)
class Held:
    """A model that holds memory of a device."""

    model: str
    bytes: int
    state: Literal["ready", "loading", "leaving"]
    running: int = 0
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class DeviceNow:
    """A device as it is."""

    name: str
    bytes: int
    """What models may take of it."""
    used: int
    models: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueNow:
    """Requests that wait for one model."""

    model: str
    interactive: bool
    count: int
    oldest_seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class PoolNow:
    """How things stand."""

    at: float
    """Seconds since the epoch."""
    policy: str
    devices: tuple[DeviceNow, ...] = ()
    queues: tuple[QueueNow, ...] = ()
    loads: int = 0
    """Models loaded since the pool began."""
    answered: int = 0
    failing: dict[str, str] = field(default_factory=dict)
    """Models that could not be loaded, and why."""
