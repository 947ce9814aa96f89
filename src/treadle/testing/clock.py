"""A clock that moves only when a test says so."""

from __future__ import annotations

EPOCH = 1_700_000_000.0


class FakeClock:
    """Implements `ports.clock.Clock`: the time of a store under test."""

    def __init__(self, start: float = EPOCH) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> float:
        """Let time pass; returns the new time. It never goes back."""
        if seconds < 0:
            raise ValueError("A clock does not go back.")
        self._now += seconds
        return self._now
