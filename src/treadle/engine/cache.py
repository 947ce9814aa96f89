"""Results that nodes declared with `cache` may reuse. Kept in this process only."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from treadle.domain import codec
from treadle.engine.execute import Outcome
from treadle.graph.plan import Live
from treadle.graph.spec import CachePolicy

MOST = 10_000
"""Results kept; then the oldest is forgotten."""


class ResultCache:
    """Outcomes by what they depend on: the graph, the node, its function, and what it is given."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Callable[..., Any], Outcome]] = {}

    def find(self, key: str, func: Callable[..., Any], policy: CachePolicy) -> Outcome | None:
        found = self._kept.get(key)
        if found is None or found[1] is not func:  # the node was given other code meanwhile
            return None
        if policy.ttl_seconds is not None and time.monotonic() - found[0] >= policy.ttl_seconds:
            return None
        return Outcome(found[2].update, found[2].route, cached=True)

    def keep(self, key: str, func: Callable[..., Any], outcome: Outcome) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (time.monotonic(), func, outcome)


def key_of(live: Live, policy: CachePolicy) -> str:
    """Name what the result of an activation depends on. Raises CodecError."""
    given: Any = live.state()
    if live.data is not None and not isinstance(live.data, Mapping):  # a Send of something that is no mapping
        given = live.data if policy.key else [given, live.data]
    return codec.digest([live.frame.graph.pin, live.qualified, policy.key(given) if policy.key else given])
