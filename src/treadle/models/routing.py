"""Which models may answer a task, in which order, and why. Pure: the inventory and what is known of it go in.

A tier is pinned, or that of the agent or domain, or of the complexity, or the default. Within it, models are tried as
they are listed. What costs money answers only where the configuration, or whoever asks, sends the task to its tier.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from treadle.domain.inventory import (
    TIERS,
    Ability,
    Complexity,
    Inventory,
    ModelEntry,
    Routing,
    Service,
    ServiceKind,
    Tier,
)
from treadle.errors import ConfigError, ModelUnavailable, UnknownName

_PAID: tuple[ServiceKind, ...] = ("anthropic", "gemini")


@dataclass(frozen=True, slots=True)
class Need:
    """What a task needs. What is left out is left to the configuration."""

    model: str = ""
    """Names the one model that may answer."""
    kind: ServiceKind | None = None
    """Only services of this kind."""
    tier: Tier | None = None
    """Pins the tier: the task never leaves it."""
    agent: str = ""
    """Or a domain."""
    complexity: Complexity | None = None
    abilities: frozenset[Ability] = frozenset()
    context: int = 0
    """Tokens, prompt and answer together."""
    named_by: str = "the task"
    """Who names the model, the kind or the tier, in words: `the flag --tier`."""


def need_of(task: Mapping[str, Any]) -> Need:
    """Read what a described task needs: `routing.tier`, `agent` or `domain`, and `complexity`.

    The tier `default`, like none, leaves it to the configuration.

    Raises:
        UnknownName: There is no such tier or complexity.
    """
    pinned = task.get("routing") or {}
    tier = _one_of(pinned.get("tier") if isinstance(pinned, Mapping) else pinned, "tier", (*TIERS, "default"))
    complexity = _one_of(task.get("complexity"), "complexity", get_args(Complexity))
    return Need(
        tier=cast("Tier", tier) if tier not in ("", "default") else None,
        agent=str(task.get("agent") or task.get("domain") or ""),
        complexity=cast("Complexity", complexity) if complexity else None,
        named_by="routing.tier",
    )


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What is known to be unusable now, and why, in words."""

    services: Mapping[str, str] = field(default_factory=dict)
    """By name: `ANTHROPIC_API_KEY is not set`, `it does not answer at http://...`."""
    models: Mapping[str, str] = field(default_factory=dict)
    """By name: `its server does not have it`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may answer."""

    entry: ModelEntry
    service: Service
    reason: str
    """Why, as the end of a sentence that begins `MODEL answers, because `."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A model that was considered and may not answer."""

    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """The answer to a need."""

    tier: Tier | None
    """None: a model is named."""
    reason: str
    """Why this tier, as the end of a sentence that begins `tier TIER, `: `which is the default`."""
    candidates: tuple[Candidate, ...]
    """In the order in which they are to be tried."""
    skipped: tuple[Skipped, ...] = ()

    @property
    def best(self) -> Candidate:
        """The model to be tried first.

        Raises:
            ConfigError: No model can be used; tells why each cannot.
        """
        if self.candidates:
            return self.candidates[0]
        why = "; ".join(f"{item.model}: {item.reason}" for item in self.skipped) or "it has no models"
        what = f"No model of tier {self.tier!r} can be used" if self.tier else "It cannot be used"
        kind = ModelUnavailable if any("does not answer" in item.reason for item in self.skipped) else ConfigError
        raise kind(f"{what} ({why}); nothing was asked.", hint="See `treadle validate`.")


def route(need: Need, inventory: Inventory, obstacles: Obstacles | None = None) -> Route:
    """Decide which models may answer.

    A tier of which no model can do it is left for the next one up, and then for those below, unless it is pinned.
    What costs money is not reached that way.

    Raises:
        UnknownName: The model that is named is not in the inventory.
    """
    known = obstacles or Obstacles()
    if need.model:
        return _named(need, inventory, known)
    tier, why = tier_of(need, inventory.routing)
    first = _in_tier(tier, why, need, inventory, known, paid=True)
    if first.candidates or need.tier is not None:
        return first
    skipped = [*first.skipped]
    for other in _others(tier, inventory.routing):
        reason = f"as no model of tier {tier} can be used"
        found = _in_tier(other, reason, need, inventory, known, paid=False)
        if found.candidates:
            return Route(other, reason, found.candidates, (*skipped, *found.skipped))
        skipped += found.skipped
    return Route(tier, why, (), tuple(skipped))


def escalate(
    tier: Tier, why: str, need: Need, inventory: Inventory, obstacles: Obstacles | None = None
) -> Route | None:
    """The next tier up in which a model can do it; None if there is none, or if the tier is pinned.

    Args:
        why: What failed, in words: `its checks failed 3 times`.
    """
    if need.tier is not None or need.model:
        return None
    for above in climb(tier, inventory.routing):
        reason = f"escalated from tier {tier}, because {why}"
        found = _in_tier(above, reason, need, inventory, obstacles or Obstacles(), paid=True)
        if found.candidates:
            return found
    return None


def ladder(need: Need, inventory: Inventory, obstacles: Obstacles | None = None) -> tuple[Route, ...]:
    """Where a task begins, and every tier that it may climb to after, in that order. Raises as `route`."""
    routes = [route(need, inventory, obstacles)]
    while (tier := routes[-1].tier) is not None:
        above = escalate(tier, "its checks keep failing", need, inventory, obstacles)
        if above is None:
            break
        routes.append(above)
    return tuple(routes)


def tier_of(need: Need, routing: Routing) -> tuple[Tier, str]:
    """The tier that a task belongs to, and why."""
    agent = need.agent.replace("-", "_")
    if need.tier is not None:
        return need.tier, f"which {need.named_by} names"
    if agent in routing.agents:
        return routing.agents[agent], f"to which {need.agent} is routed"
    if need.complexity is not None and need.complexity in routing.complexity:
        return routing.complexity[need.complexity], f"which is for {need.complexity} tasks"
    return routing.default_tier, "which is the default"


def climb(tier: Tier, routing: Routing) -> Iterator[Tier]:
    """The tiers above one, in the order of escalation."""
    seen = {tier}
    following = routing.escalation.get(tier)
    while following is not None and following not in seen:
        seen.add(following)
        yield following
        following = routing.escalation.get(following)


def costs_money(entry: ModelEntry, service: Service) -> bool:
    """Tell whether somebody is paid by the token."""
    price = entry.price
    return service.kind in _PAID or bool(service.api_key_env or price.input_per_million or price.output_per_million)


def _named(need: Need, inventory: Inventory, known: Obstacles) -> Route:
    entry = inventory.models.get(need.model)
    if entry is None:
        raise UnknownName("model", need.model, inventory.models)
    service = inventory.services[entry.service]
    why = _obstacle(entry, service, need, known)
    if why:
        return Route(None, "", (), (Skipped(entry.name, why),))
    return Route(None, "", (Candidate(entry, service, f"{need.named_by} names it"),))


def _one_of(value: object, what: str, known: Sequence[str]) -> str:
    if value is not None and value not in known:
        raise UnknownName(what, str(value), known)
    return str(value or "")


def _in_tier(tier: Tier, reason: str, need: Need, inventory: Inventory, known: Obstacles, *, paid: bool) -> Route:
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    for name in inventory.routing.tiers.get(tier, ()):
        entry = inventory.models[name]
        service = inventory.services[entry.service]
        why = _obstacle(entry, service, need, known)
        if not why and not paid and costs_money(entry, service):
            why = f"it costs money, and nothing sends this task to tier {tier}"
        if why:
            skipped.append(Skipped(name, why))
            continue
        place = "first" if not candidates else "next"
        passed = f" that can be used (not {skipped[0].model}: {skipped[0].reason})" if skipped else ""
        candidates.append(Candidate(entry, service, f"it is the {place} of tier {tier}{passed}, {reason}"))
    return Route(tier, reason, tuple(candidates), tuple(skipped))


def _obstacle(entry: ModelEntry, service: Service, need: Need, known: Obstacles) -> str:
    if need.kind is not None and service.kind != need.kind:
        return f"it is at {service.name}, which is no {need.kind}"
    lacking = sorted(need.abilities - entry.abilities)
    if lacking:
        return f"it cannot do {' and '.join(lacking)}"
    if need.context > entry.context:
        return f"its context of {entry.context:,} tokens is less than the {need.context:,} that are needed"
    return known.services.get(service.name, "") or known.models.get(entry.name, "")


def _others(tier: Tier, routing: Routing) -> Iterator[Tier]:
    """Where to look when a tier is of no use: upwards, then downwards from there."""
    above = [*climb(tier, routing)]
    yield from above
    below = [other for other in reversed(TIERS) if other != tier and other not in above]
    yield from below
