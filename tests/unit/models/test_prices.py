"""What an answer costs."""

from __future__ import annotations

import sys

import pytest
from asked import REQUEST, SlowModel, in_virtual_time

from treadle.domain.inventory import ModelEntry, Price, Service
from treadle.domain.messages import Usage
from treadle.models.prices import is_free, pricing_of
from treadle.models.wrappers import Named, Priced

HALF_A_MILLION = Usage(400_000, 100_000)
CLAUDE = ModelEntry("claude", "anthropic", "claude-sonnet-4-5")
ANTHROPIC = Service("anthropic", "anthropic", api_key_env="ANTHROPIC_API_KEY")


def local(**price: float) -> tuple[ModelEntry, Service]:
    return ModelEntry("q", "epyc.vllm", "Qwen/q", price=Price(**price)), Service("epyc.vllm", "vllm")


@pytest.mark.parametrize(
    ("service", "served_as", "free"),
    [
        (Service("s", "llama_cpp"), "m", True),
        (Service("s", "vllm", "http://10.0.0.5:8000/v1", api_key_env="VLLM_KEY"), "m", True),
        (Service("s", "ollama", "http://127.0.0.1:11434"), "gemma3", True),
        (Service("s", "ollama", "http://127.0.0.1:11434"), "gpt-oss:120b-cloud", False),
        (Service("s", "openai", "http://192.168.1.4:8080/v1"), "m", True),
        (Service("s", "openai", "http://127.0.0.1:4000/v1", api_key_env="PROXY_KEY"), "m", False),
        (Service("s", "openai", "https://api.openai.com/v1"), "m", False),
        (Service("s", "openai"), "m", False),
        (ANTHROPIC, "m", False),
    ],
)
def test_only_what_runs_on_ones_own_hardware_is_free(service: Service, served_as: str, free: bool) -> None:
    assert is_free(ModelEntry("m", service.name, served_as), service) is free


def test_a_local_model_costs_its_energy_and_nothing_else() -> None:
    pricing = pricing_of(*local(per_hour=0.36))
    assert pricing is not None
    assert pricing(HALF_A_MILLION, 100.0) == pytest.approx(0.01)
    assert pricing_of(*local())(HALF_A_MILLION, 100.0) == 0.0  # type: ignore[misc]


def test_the_inventorys_own_price_comes_first() -> None:
    entry = ModelEntry("claude", "anthropic", "claude-sonnet-4-5", price=Price(1.0, 10.0))
    pricing = pricing_of(entry, ANTHROPIC)
    assert pricing is not None
    assert pricing(HALF_A_MILLION, 5.0) == pytest.approx(0.4 + 1.0)


def test_a_paid_model_without_a_price_of_its_own_is_looked_up() -> None:
    pytest.importorskip("genai_prices")
    pricing = pricing_of(CLAUDE, ANTHROPIC)
    assert pricing is not None
    assert pricing(Usage(1000, 1000), 5.0) == pytest.approx(0.003 + 0.015)


@pytest.mark.parametrize(
    ("entry", "service"),
    [
        (ModelEntry("m", "s", "nobody-knows-it"), Service("s", "openai", "https://api.openai.com/v1")),
        (ModelEntry("m", "s", "gpt-4o"), Service("s", "openai", "https://models.example.com/v1")),
    ],
)
def test_the_price_of_what_nobody_knows_is_not_guessed(entry: ModelEntry, service: Service) -> None:
    pytest.importorskip("genai_prices")
    assert pricing_of(entry, service) is None


def test_without_the_price_table_a_paid_models_price_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert pricing_of(CLAUDE, ANTHROPIC) is None
    assert pricing_of(*local()) is not None


def test_an_answer_carries_the_inventorys_name_and_what_it_cost() -> None:
    entry, service = local(per_hour=3600.0)
    model = Priced(Named(SlowModel(seconds=2.0), entry), pricing_of(entry, service))
    reply = in_virtual_time(model.reply(REQUEST))
    assert (reply.model, reply.cost) == ("q", 2.0)


def test_an_answer_whose_price_nobody_knows_says_nothing_of_it() -> None:
    assert in_virtual_time(Priced(SlowModel(), None).reply(REQUEST)).cost is None
