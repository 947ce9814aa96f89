"""Which models a build may ask, tier by tier: decided when it starts, and recorded with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from treadle.domain.inventory import Inventory
from treadle.errors import ConfigError
from treadle.models.choose import Decision, provider_of, recorded
from treadle.models.prices import pricing_of
from treadle.models.routing import Route
from treadle.settings import Settings


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """One model, as `models.choose.recorded` finds it again."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class PlannedTier:
    """The models of a tier, in the order in which they are tried."""

    name: str
    """Empty where a model was named, or there are no tiers."""
    models: tuple[PlannedModel, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(planned.model for planned in self.models)})"


def planned_tiers(decision: Decision) -> tuple[PlannedTier, ...]:
    """The tier that a build begins in, and those that it may climb to. One that brings no other models is left out."""
    tiers: list[PlannedTier] = []
    for planned in map(_planned, decision.ladder):
        if not tiers or planned.models != tiers[-1].models:
            tiers.append(planned)
    return tuple(tiers)


def budgets_of(inventory: Inventory | None, settings: Settings) -> dict[str, float]:
    """The limits of a build, by kind: what the settings say, else what the inventory's routing says of any run."""
    build = settings.build
    usual = inventory.routing.budgets if inventory is not None else {}
    limits = {"tokens": float(build.budget_tokens), "money": build.budget_money, "seconds": build.budget_seconds}
    chosen = {
        kind: limit if f"build.budget_{kind}" in settings.origins else usual.get(kind, limit)
        for kind, limit in limits.items()
    }
    return {kind: limit for kind, limit in chosen.items() if limit != math.inf}


def refuse_unknown_prices(tiers: tuple[PlannedTier, ...], settings: Settings) -> None:
    """Raise ConfigError if a budget of money is set, and what some model costs is not known: nobody could keep it."""
    for tier in tiers:
        for planned in tier.models:
            service, entry = recorded(settings, planned.provider, planned.model)
            if pricing_of(entry, service) is None:
                raise ConfigError(
                    f"What {entry.name!r} costs is not known, so no budget of money can be kept; nothing was started.",
                    hint="Give its price in servers.yaml, or run: pip install 'treadle[prices]'; "
                    "or set no budget of money.",
                )


def _planned(route: Route) -> PlannedTier:
    models = [PlannedModel(provider_of(found.service), found.entry.name) for found in route.candidates]
    return PlannedTier(route.tier or "", tuple(models))
