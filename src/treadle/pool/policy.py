"""The policies that the schedule knows: four settings of one function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from treadle.errors import UnknownName

Order = Literal["work", "arrival", "ollama"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How the schedule weighs what waits."""

    name: str
    order: Order = "work"
    """`work`: what is loaded first, then the most work per load cost. `arrival`: strictly the oldest.
    `ollama`: what is loaded first, then the oldest."""
    patience_s: float = 60.0
    """A model that is not loaded is due once it has waited this much longer than all requests that hold its memory."""
    quantum_loads: float = 6.0
    """A due model still waits until what is loaded has worked this many times as long as the change takes."""
    promote_s: float = 240.0
    """What is not interactive counts like it after this long."""


POLICIES: Mapping[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("fair"),
        Policy("throughput", patience_s=math.inf),
        Policy("fifo-lru", order="arrival"),
        Policy("ollama", order="ollama"),
    )
}
DEFAULT_POLICY = "fair"


def policy_of(name: str) -> Policy:
    """Find a policy. Raises UnknownName."""
    try:
        return POLICIES[name]
    except KeyError:
        raise UnknownName("policy", name, POLICIES) from None
