"""The wrappers in their order: for one service, and for the models of a tier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.domain.inventory import ModelEntry, Service
from treadle.models.prices import pricing_of
from treadle.models.wrappers.breaker import Breaker, Circuit
from treadle.models.wrappers.cached import Cached
from treadle.models.wrappers.fallback import Fallback
from treadle.models.wrappers.limited import Limited, Limiter
from treadle.models.wrappers.named import Named, Priced
from treadle.models.wrappers.retrying import Retrying
from treadle.ports.model import Model

ModelOf = Callable[[ModelEntry, Service], Model]
"""The wrapped adapter for a model of a service."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What everything that asks one service from this process shares."""

    limiter: Limiter
    circuit: Circuit

    @classmethod
    def of(cls, service: Service) -> Guard:
        """Raises ConfigError for limits that let nothing through."""
        return cls(Limiter.of(service), Circuit(service.name))


def wrapped(model: Model, guard: Guard, *, may_begin_anew: bool = False) -> Model:
    """Ask a service within its limits, again after failures, and not at all for a while after many."""
    return Retrying(Breaker(Limited(model, guard.limiter), guard.circuit), may_begin_anew=may_begin_anew)


def tier_model(
    tier: str,
    entries: Sequence[tuple[ModelEntry, Service]],
    model_of: ModelOf,
    *,
    answers: Path | None = None,
    may_begin_anew: bool = False,
) -> Model:
    """The models of a tier as one that asks them in order, each under its own name, and priced.

    Args:
        answers: Folder where answers are kept and found again; None: they are not.

    Raises:
        ConfigError: There is no model.
    """
    opened: list[tuple[str, Model]] = []
    for entry, service in entries:
        model = model_of(entry, service)
        kept = model if answers is None else Cached(model, answers)
        opened.append((entry.name, Priced(Named(kept, entry), pricing_of(entry, service))))
    return Fallback(f"tier {tier!r}" if tier else "this build", opened, may_begin_anew=may_begin_anew)
