"""Schedules: runs that begin by the calendar, again and again."""

from __future__ import annotations

from typing import Literal

import msgspec

Overlap = Literal["skip", "queue"]


class Schedule(msgspec.Struct, frozen=True):
    """What is to begin, and when."""

    name: str
    cron: str
    """Minute, hour, day of month, month, day of week."""
    graph: str
    """Name of the graph, without its hash: a run begins with the code of the worker that starts it."""
    state: msgspec.Raw = msgspec.Raw(b"{}")
    """The first state of each run, as `codec` writes it."""
    timezone: str = "UTC"
    overlap: Overlap = "skip"
    """What a tick comes to while the run before is live: nothing, or a run when that one has ended (one at most)."""
    target: str = ""
    """Where the graph's code is, as users type it; for readers."""


class ScheduleRow(msgspec.Struct, frozen=True):
    """A schedule as a reader sees it."""

    schedule: Schedule
    next_at: float
    """The tick that is to begin next."""
    paused: bool = False
    last_at: float | None = None
    """The tick that a run was begun for last."""
    last_run: str | None = None
