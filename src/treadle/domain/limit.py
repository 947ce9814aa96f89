"""Limits of queues: how much of one may run at once, and how fast it may begin, over all workers."""

from __future__ import annotations

import re

import msgspec

from treadle.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Limit(msgspec.Struct, frozen=True):
    """What holds for one queue. None: no such limit."""

    queue: str
    concurrency: int | None = None
    """Tasks leased at once."""
    per_key: int | None = None
    """Tasks leased at once that have the same key; those without a key are not counted."""
    rate: int | None = None
    """Tasks begun within any `rate_seconds`. Every attempt counts."""
    rate_seconds: float = 1.0


class LimitRow(msgspec.Struct, frozen=True):
    """A limit as a reader sees it."""

    limit: Limit
    held: int
    """Tasks of the queue that are leased now."""
    begun: int
    """Tasks begun within the last `rate_seconds`; 0 where the rate is not limited."""


def check_limit(limit: Limit) -> None:
    """Raise UsageError for a limit that says nothing, or something that cannot be."""
    numbers = (limit.concurrency, limit.per_key, limit.rate)
    if not limit.queue or all(number is None for number in numbers):
        raise UsageError(
            f"Nothing is said of queue {limit.queue!r}; no limit was set.",
            hint="Give a concurrency, a concurrency per key, or a rate such as 10/60s.",
        )
    if any(number is not None and not 1 <= number < 2**31 for number in numbers) or not 0 < limit.rate_seconds < 1e9:
        raise UsageError(
            f"A limit of queue {limit.queue!r} is not above 0; it was not set.", hint="To stop a run, pause it."
        )


def parse_rate(text: str) -> tuple[int, float]:
    """Read `10/60s`, `5/m` or `100/2h` as (tasks, seconds). Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*([smhd]?)\s*", text)
    if found is None or not (found[2] or found[3]):
        raise UsageError(f"{text!r} is no rate; no limit was set.", hint="Write tasks per time: 10/60s, 5/m or 100/2h.")
    return int(found[1]), float(found[2] or 1) * _UNITS[found[3]]
