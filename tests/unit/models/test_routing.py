"""Which models may answer a task, in which order, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from treadle.domain.inventory import Inventory, ModelEntry, Price, Routing, Service
from treadle.errors import ConfigError, ModelUnavailable, UnknownName
from treadle.models.inventory.read import read_inventory
from treadle.models.routing import Need, Obstacles, climb, costs_money, escalate, ladder, need_of, route, tier_of

DATS = read_inventory((Path(__file__).parents[3] / "examples" / "servers.yaml",)).inventory


def names(need: Need, obstacles: Obstacles | None = None, inventory: Inventory = DATS) -> list[str]:
    return [candidate.entry.name for candidate in route(need, inventory, obstacles).candidates]


@pytest.mark.parametrize(
    ("need", "tier", "why"),
    [
        (Need(), "small", "which is the default"),
        (Need(complexity="complex"), "large", "which is for complex tasks"),
        (Need(agent="coordinator", complexity="simple"), "large", "to which coordinator is routed"),
        (Need(agent="code-vision"), "small", "to which code-vision is routed"),
        (Need(agent="nobody", complexity="simple"), "tiny", "which is for simple tasks"),
        (Need(tier="tiny", agent="coordinator", named_by="routing.tier"), "tiny", "which routing.tier names"),
    ],
)
def test_pin_then_agent_then_complexity_then_default_say_the_tier(need, tier, why):
    assert tier_of(need, DATS.routing) == (tier, why)


def test_models_come_in_the_order_of_the_tier():
    assert names(Need(tier="large")) == ["gpt-oss:20b", "qwen3-coder:30b", "qwen3-coder:30b-a3b-q8_0"]


def test_models_that_cannot_do_it_are_skipped_and_it_is_said_why():
    found = route(Need(tier="tiny", abilities=frozenset({"tools"})), DATS)
    assert [item.entry.name for item in found.candidates] == ["qwen3-4b-m32k"]
    assert [(item.model, item.reason) for item in found.skipped] == [("gemma3:4b", "it cannot do tools")]
    assert found.best.reason == (
        "it is the first of tier tiny that can be used (not gemma3:4b: it cannot do tools), which the task names"
    )


def test_a_context_too_large_for_a_tier_goes_up():
    found = route(Need(complexity="medium", context=50_000), DATS)
    assert (found.tier, found.best.entry.name) == ("large", "gpt-oss:20b")
    assert found.reason == "as no model of tier small can be used"
    assert "32,768 tokens is less than the 50,000" in found.skipped[0].reason


def test_a_pinned_tier_is_never_left():
    found = route(Need(tier="small", context=50_000), DATS)
    assert found.candidates == ()
    with pytest.raises(ConfigError, match=r"No model of tier 'small' can be used \(gemma3:12b: its context"):
        _ = found.best
    assert escalate("small", "its checks failed", Need(tier="small"), DATS) is None


def test_money_is_spent_where_the_configuration_sends_a_task_and_not_for_want_of_another():
    down = Obstacles(services=dict.fromkeys(["epyc_server.vllm", "epyc_server.ollama"], "it does not answer"))
    assert names(Need(tier="frontier")) == ["claude-sonnet-4"]
    found = route(Need(agent="coordinator"), DATS, down)
    assert found.tier == "small" and "it costs money" in str(found.skipped)
    agents = {**DATS.routing.agents, "coordinator": "frontier"}
    sent = replace(DATS, routing=replace(DATS.routing, agents=agents))
    assert names(Need(agent="coordinator"), down, sent) == ["claude-sonnet-4"]


def test_what_does_not_answer_is_unavailable_and_what_has_no_key_is_a_mistake():
    key = Obstacles(services={"anthropic": "ANTHROPIC_API_KEY is not set"})
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY is not set"):
        _ = route(Need(tier="frontier"), DATS, key).best
    with pytest.raises(ModelUnavailable):
        _ = route(Need(tier="frontier"), DATS, Obstacles(services={"anthropic": "it does not answer"})).best


def test_escalation_goes_one_up_and_says_why():
    found = escalate("tiny", "its checks failed 3 times", Need(complexity="simple"), DATS)
    assert found is not None
    assert (found.tier, found.best.entry.name) == ("small", "gemma3:12b")
    assert found.reason == "escalated from tier tiny, because its checks failed 3 times"


def test_escalation_passes_tiers_without_a_usable_model_and_ends_at_the_top():
    blocked = Obstacles(models={"gemma3:12b": "its server does not have it", "gemma3:27b": "its server does not"})
    found = escalate("tiny", "it failed", Need(), DATS, blocked)
    assert found is not None and found.tier == "large"
    assert escalate("frontier", "it failed", Need(), DATS) is None
    paid = escalate("large", "it failed", Need(), DATS)
    assert paid is not None and paid.best.entry.name == "claude-sonnet-4"


def test_a_ladder_has_every_tier_that_a_task_may_climb():
    assert [step.tier for step in ladder(Need(), DATS)] == ["small", "large", "frontier"]
    assert [step.tier for step in ladder(Need(tier="tiny"), DATS)] == ["tiny"]
    assert [step.tier for step in ladder(Need(model="gemma3:4b"), DATS)] == [None]


def test_a_described_task_says_what_it_needs():
    task = {"id": "task-123", "domain": "code-general", "routing": {"tier": "large"}, "complexity": "simple"}
    need = need_of(task)
    assert (need.tier, need.agent, need.complexity) == ("large", "code-general", "simple")
    assert tier_of(need, DATS.routing) == ("large", "which routing.tier names")
    assert tier_of(need_of({"routing": {"tier": "default"}}), DATS.routing) == ("small", "which is the default")
    with pytest.raises(UnknownName) as told:
        need_of({"routing": {"tier": "larg"}})
    assert told.value.hint == "Did you mean 'large'?"


def test_a_circle_in_escalation_ends_nevertheless():
    assert [*climb("tiny", Routing(escalation={"tiny": "small", "small": "tiny"}))] == ["small"]


def test_a_named_model_is_the_only_one():
    assert names(Need(model="gemma3:27b", tier="tiny")) == ["gemma3:27b"]
    with pytest.raises(UnknownName) as told:
        route(Need(model="gemma3:28b"), DATS)
    assert told.value.hint == "Did you mean 'gemma3:27b'?"


def test_services_of_one_kind_only():
    assert names(Need(tier="large", kind="ollama")) == ["qwen3-coder:30b", "qwen3-coder:30b-a3b-q8_0"]


def test_an_inventory_without_models_has_no_candidates_and_no_endless_search():
    assert names(Need(), inventory=Inventory()) == []


@pytest.mark.parametrize(
    ("service", "price", "paid"),
    [
        (Service("s", "ollama", "http://h:1"), Price(), False),
        (Service("s", "ollama", "http://h:1"), Price(per_hour=0.1), False),
        (Service("s", "anthropic"), Price(), True),
        (Service("s", "openai", "https://h/v1", api_key_env="K"), Price(), True),
        (Service("s", "vllm", "http://h/v1"), Price(input_per_million=1.0), True),
    ],
)
def test_paid_is_who_has_a_key_or_a_price_per_token(service, price, paid):
    assert costs_money(ModelEntry("m", "s", "m", price=price), service) is paid
