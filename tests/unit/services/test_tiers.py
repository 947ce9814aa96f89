"""What a build may climb to, and what it may spend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from treadle.domain.inventory import Inventory, ModelEntry, Routing, Service
from treadle.errors import ConfigError
from treadle.models.choose import Decision
from treadle.models.routing import Need, ladder
from treadle.services.tiers import PlannedModel, PlannedTier, planned_tiers, refuse_unknown_prices
from treadle.settings import Settings

HERE = Service("here", "ollama", "http://127.0.0.1:9")
INVENTORY = Inventory(
    services={"here": HERE},
    models={name: ModelEntry(name, "here", name) for name in ("a", "b", "c")},
    routing=Routing(tiers={"tiny": ("a", "b"), "large": ("c",)}, default_tier="tiny"),
)


def decide(need: Need, inventory: Inventory = INVENTORY) -> Decision:
    return Decision(inventory, ladder(need, inventory))


def names(tiers: tuple[PlannedTier, ...]) -> list[str]:
    return [str(tier) for tier in tiers]


def test_a_build_may_climb_to_every_tier_above_that_has_a_model() -> None:
    tiers = planned_tiers(decide(Need()))
    assert names(tiers) == ["tiny (a, b)", "large (c)"]
    assert tiers[0].models[0] == PlannedModel("ollama", "a")


def test_a_tier_with_the_same_models_is_no_other_tier() -> None:
    routing = replace(INVENTORY.routing, tiers={"tiny": ("a",), "small": ("a",), "large": ("c",)})
    tiers = planned_tiers(decide(Need(), replace(INVENTORY, routing=routing)))
    assert names(tiers) == ["tiny (a)", "large (c)"]


def test_a_pinned_tier_and_a_named_model_are_not_left() -> None:
    assert names(planned_tiers(decide(Need(tier="tiny")))) == ["tiny (a, b)"]
    assert names(planned_tiers(decide(Need(model="b")))) == [" (b)"]


def test_money_has_no_limit_where_a_price_is_not_known(tmp_path: Path) -> None:
    paid = (
        "providers:\n  openai:\n    url: https://models.example.com/v1\n    api_key_env: K\n    models:\n"
        "      nobody-knows-it: {context: 8k}\nrouting: {tiers: {small: [nobody-knows-it]}}\n"
    )
    (tmp_path / "servers.yaml").write_text(paid)
    tiers = (PlannedTier("", (PlannedModel("openai", "nobody-knows-it"),)),)
    with pytest.raises(ConfigError, match="What 'nobody-knows-it' costs is not known"):
        refuse_unknown_prices(tiers, Settings(tmp_path))
    (tmp_path / "servers.yaml").write_text(paid.replace("{context: 8k}", "{price: {input_per_million: 1}}"))
    refuse_unknown_prices(tiers, Settings(tmp_path))
