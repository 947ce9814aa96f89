"""Routing as it is written: tiers, who gets which, where to climb, and what a run may spend. See `routing.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast, get_args

from treadle.domain.inventory import TIERS, Complexity, ModelEntry, Routing, Tier
from treadle.errors import Problem, nearest
from treadle.models.inventory.yaml_tree import Node, Section

COMPLEXITIES: tuple[Complexity, ...] = get_args(Complexity)
BUDGETS = ("money", "tokens", "seconds")

Places = dict[str, list[tuple[Node, str]]]
"""Where a tier or a model is named: (value, name), by section."""


def read_routing(section: Section) -> tuple[Routing, Places]:
    """Read a routing section; the places are for `check_routing`."""
    shipped = Routing()
    places: Places = {"models": [], "tiers": []}
    tiers = _tiers(section, places)
    agents = _to_tiers(section, "agents", None, places) | _to_tiers(section, "domains", None, places)
    complexity = _to_tiers(section, "complexity", COMPLEXITIES, places)
    escalation = _to_tiers(section, "escalation", TIERS, places)
    default = section.choice("default", TIERS)
    if default:
        places["tiers"].append((cast("Node", section.take("default")), default))
    routing = Routing(
        tiers=tiers,
        agents={name.replace("-", "_"): tier for name, tier in agents.items()},
        complexity={**shipped.complexity, **cast("dict[Complexity, Tier]", complexity)},
        escalation=cast("dict[Tier, Tier]", escalation) if "escalation" in section else shipped.escalation,
        default_tier=cast("Tier", default) if default else _middle(tiers),
        budgets=_budgets(section),
    )
    _check_cycles(routing, section)
    section.finish()
    return routing, places


def check_routing(routing: Routing, places: Places, models: Mapping[str, ModelEntry], problems: list[Problem]) -> None:
    """Check that the models that are named are there, and that a tier to which anything is sent has some."""
    for node, name in places["models"]:
        if name not in models:
            problems.append(node.problem(f"There is no model {name!r}.", nearest(name, models)))
    for node, tier in places["tiers"]:
        if not routing.tiers.get(cast("Tier", tier)):
            hint = f"Give it models, or name one of: {', '.join(routing.tiers) or 'none'}."
            problems.append(node.problem(f"The tier {tier!r} has no models.", hint))


def _tiers(section: Section, places: Places) -> dict[Tier, tuple[str, ...]]:
    found: dict[Tier, tuple[str, ...]] = {}
    for name, node in section.entries("tiers"):
        if name not in TIERS:
            section.problems.append(node.problem(f"There is no tier {name!r}.", nearest(name, TIERS)))
            continue
        outer = Section(Node({name: node}, node.file, node.line, node.path), section.problems)
        inner = Section(node, section.problems) if isinstance(node.value, dict) else None
        items = inner.items("models") if inner else outer.items(name)
        if inner:
            inner.finish()
        names = [_model_name(item, section.problems) for item in items]
        places["models"] += [(item, model) for item, model in zip(items, names, strict=True) if model]
        twice = {model for model in names if model and names.count(model) > 1}
        if twice:
            section.problems.append(node.problem(f"It names {', '.join(sorted(twice))} twice."))
        if not items:
            section.problems.append(node.problem(f"The tier {name!r} has no models.", "Name some, or leave it out."))
        found[name] = tuple(dict.fromkeys(model for model in names if model))
    if "tiers" not in section:
        section.problems.append(section.node.problem("It has no tiers.", "Write tiers: {small: [MODEL, ...]}."))
    return {tier: found[tier] for tier in TIERS if tier in found}


def _model_name(item: Node, problems: list[Problem]) -> str:
    if not isinstance(item.value, str):
        problems.append(item.problem(f"It is {item.kind}; the name of a model is expected."))
        return ""
    return item.value


def _to_tiers(section: Section, key: str, known: Collection[str] | None, places: Places) -> dict[str, Tier]:
    found: dict[str, Tier] = {}
    for name, node in section.entries(key):
        if known is not None and name not in known:
            section.problems.append(node.problem(f"{name!r} is not known here.", nearest(name, known)))
        elif node.value is None and key == "escalation":
            continue
        elif tier := section.known(node, TIERS):
            found[name] = cast("Tier", tier)
            places["tiers"].append((node, tier))
    return found


def _budgets(section: Section) -> dict[str, float]:
    node = section.take("budgets")
    if node is None:
        return {}
    inner = Section(node, section.problems, {"money_usd": "money", "usd": "money"})
    found = {name: inner.number(name, zero="Leave it out for no limit.") for name in BUDGETS}
    inner.finish()
    return {name: value for name, value in found.items() if value is not None}


def _check_cycles(routing: Routing, section: Section) -> None:
    for start in routing.escalation:
        path = [start]
        while (following := routing.escalation.get(path[-1])) is not None:
            path.append(following)
            if following == start:
                node = cast("Node", section.take("escalation"))
                shown = " -> ".join(path)
                section.problems.append(
                    node.problem(f"It goes in a circle: {shown}.", "A task that fails would never come to an end.")
                )
                return
            if path.count(following) > 1:
                break


def _middle(tiers: Mapping[Tier, tuple[str, ...]]) -> Tier:
    """The tier of what nothing says anything about: small, or the nearest that there is."""
    return next((tier for tier in ("small", "large", "tiny", "frontier") if tiers.get(tier)), "small")
