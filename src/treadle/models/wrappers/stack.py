"""The wrappers in their order: for one service, and for the models of a tier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from treadle.domain.inventory import Inventory, ModelEntry, Service
from treadle.errors import ConfigError
from treadle.models.prices import pricing_of
from treadle.models.wrappers.breaker import Breaker, Circuit
from treadle.models.wrappers.cached import Cached
from treadle.models.wrappers.fallback import Fallback
from treadle.models.wrappers.limited import Limited, Limiter
from treadle.models.wrappers.named import Named, Priced
from treadle.models.wrappers.retrying import Retrying
from treadle.ports.model import Model

ModelOf = Callable[[Service], Model]
"""The wrapped model of a service: the same object each time, for its limits count what was asked through it."""


def wrapped(model: Model, service: Service, *, may_begin_anew: bool = False) -> Model:
    """Ask a service within its limits, again after failures, and not at all for a while after many.

    Make one per service and process, and share it. Raises ConfigError for limits that let nothing through.
    """
    careful = Breaker(Limited(model, Limiter.of(service)), Circuit(service.name))
    return Retrying(careful, may_begin_anew=may_begin_anew)


def named(entry: ModelEntry, inventory: Inventory, model_of: ModelOf, *, answers: Path | None = None) -> Model:
    """One model of the inventory, under its own name, priced. Its answers are kept in the folder `answers`, if any."""
    service = inventory.services[entry.service]
    model = model_of(service)
    kept = model if answers is None else Cached(model, answers)
    return Priced(Named(kept, entry), pricing_of(entry, service))


def tier_model(
    tier: str,
    models: Sequence[str],
    inventory: Inventory,
    model_of: ModelOf,
    *,
    answers: Path | None = None,
    may_begin_anew: bool = False,
) -> Model:
    """The models of a tier as one that asks them in order.

    `models` are names of the inventory: those of its routing, or what a plan has pinned.

    Raises:
        ConfigError: There is none, or the inventory has no such model.
    """
    missing = [name for name in models if name not in inventory.models]
    if missing:
        raise ConfigError(
            f"Tier {tier!r} names {', '.join(map(repr, missing))}, which the inventory has no more; nothing was asked.",
            hint="Put it back into servers.yaml, or start a new run.",
        )
    entries = [inventory.models[name] for name in models]
    opened = [(entry.name, named(entry, inventory, model_of, answers=answers)) for entry in entries]
    return Fallback(f"tier {tier!r}", opened, may_begin_anew=may_begin_anew)
