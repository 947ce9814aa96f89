"""Who answers where there is an inventory, and who where a tier is named; which keys may go where."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from treadle.errors import ConfigError, UnknownName
from treadle.models.choose import Choice, Decision, choose, decide, recorded
from treadle.models.inventory.keys import key_of
from treadle.models.inventory.shipped import OllamaTag
from treadle.models.routing import Need
from treadle.settings import Settings, load_settings

EXAMPLE = Path(__file__).parents[3] / "examples" / "servers.yaml"


def settings_in(folder: Path, flags: dict[str, object] | None = None, **env: str) -> Settings:
    return load_settings(folder, flags, {"HOME": str(folder), **env})


def decision(settings: Settings, need: Need | None = None, ollama: list[OllamaTag] | None = None) -> Decision:
    async def probe(url: str) -> list[OllamaTag] | None:
        assert "127.0.0.1" in url
        return ollama

    return asyncio.run(decide(settings, need, probe=probe))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(EXAMPLE, tmp_path / "servers.yaml")
    return tmp_path


def test_the_default_tier_of_the_inventory_answers(project):
    assert decision(settings_in(project)).choice == Choice(
        "gemma3:12b", "ollama", "because it is the first of tier small, which is the default"
    )


def test_a_flag_pins_the_tier_and_is_the_reason(project):
    choice = decision(settings_in(project, {"tier": "large"})).choice
    assert (choice.model, choice.provider, choice.served_as) == ("gpt-oss:20b", "vllm", "openai/gpt-oss-20b")
    assert choice.reason.endswith("tier large, which the flag --tier names")


def test_a_task_may_have_a_tier_of_its_own(project):
    assert decision(settings_in(project), Need(complexity="simple")).choice.model == "gemma3:4b"
    assert decision(settings_in(project, {"tier": "large"}), Need(complexity="simple")).choice.model == "gpt-oss:20b"


def test_a_model_of_the_inventory_is_named_with_or_without_its_provider(project):
    assert decision(settings_in(project, {"model": "gemma3:27b"})).choice.provider == "ollama"
    assert decision(settings_in(project, {"model": "vllm/gpt-oss:20b"})).choice.provider == "vllm"
    assert decision(settings_in(project, {"provider": "vllm", "tier": "large"})).choice.model == "gpt-oss:20b"


def test_what_is_not_in_the_inventory_is_looked_for_here(project):
    assert decision(settings_in(project, {"model": "smollm2"})).choice.provider == "embedded"
    assert decision(settings_in(project, {"provider": "embedded"})).choice.model == "qwen2.5-coder:1.5b"
    with pytest.raises(UnknownName) as told:
        decision(settings_in(project, {"model": "gemma3:26b"}))
    assert told.value.hint == "Did you mean 'gemma3:27b'?"


def test_a_paid_model_that_is_named_needs_its_key_and_names_the_variable(project):
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY is not set"):
        asyncio.run(choose(settings_in(project, {"tier": "frontier"})))
    assert decision(settings_in(project, {"tier": "frontier"}, ANTHROPIC_API_KEY="k")).choice.provider == "anthropic"
    alone = settings_in(project / "..", {"provider": "anthropic", "model": "claude-x"}, ANTHROPIC_API_KEY="k")
    assert decision(alone).choice == Choice("claude-x", "anthropic", "because the flag --provider names it")


def test_a_key_in_the_environment_spends_nobodys_money(tmp_path):
    settings = settings_in(tmp_path, ANTHROPIC_API_KEY="k", GEMINI_API_KEY="k", OPENAI_API_KEY="k")
    for tier in (None, "tiny", "small", "large"):
        assert decision(settings, Need(tier=tier)).choice.provider == "embedded"
    with pytest.raises(ConfigError, match="No model of tier 'frontier'"):
        _ = decision(settings, Need(tier="frontier")).choice


def test_without_an_inventory_tiers_are_what_there_is_here(tmp_path):
    assert decision(settings_in(tmp_path, {"tier": "tiny"})).choice.model == "qwen2.5-coder:0.5b"
    ollama = [OllamaTag("qwen3-coder:4b", 1 << 30)]
    assert decision(settings_in(tmp_path, {"tier": "large"}), ollama=ollama).choice.provider == "ollama"
    assert decision(settings_in(tmp_path, {"tier": "tiny"}), ollama=ollama).choice.provider == "embedded"


def test_routing_alone_is_about_what_is_shipped(tmp_path):
    (tmp_path / "routing_config.yaml").write_text("tiers: {small: ['smollm2:135m']}\nescalation: {}\n")
    assert decision(settings_in(tmp_path)).choice.model == "smollm2:135m"
    (tmp_path / "routing_config.yaml").write_text("tiers: {small: ['smollm2:136m']}\nescalation: {}\n")
    with pytest.raises(ConfigError) as told:
        decision(settings_in(tmp_path))
    assert told.value.hint == "Did you mean 'smollm2:135m'?"


def test_a_kind_that_only_an_inventory_can_describe_says_so(tmp_path):
    with pytest.raises(ConfigError, match="'vllm' is configured without openai_base_url and model") as told:
        decision(settings_in(tmp_path, {"provider": "vllm"}))
    assert "servers.yaml" in told.value.hint


def test_what_was_chosen_is_found_again_from_its_record(project):
    service, entry = recorded(settings_in(project), "vllm", "gpt-oss:20b")
    assert (service.url, entry.served_as) == ("http://192.168.1.11:8000/v1", "openai/gpt-oss-20b")
    service, entry = recorded(settings_in(project), "embedded", "smollm2:135m")
    assert (service.kind, entry.served_as) == ("llama_cpp", "smollm2:135m")


ELSEWHERE = """
providers:
  x: {kind: openai, url: 'https://evil.example.com/v1', api_key_env: ANTHROPIC_API_KEY, models: [m]}
routing: {tiers: {small: [m]}, escalation: {}}
"""


def test_an_inventory_that_came_with_a_project_cannot_send_the_users_keys_anywhere(tmp_path):
    (tmp_path / "servers.yaml").write_text(ELSEWHERE)
    settings = settings_in(tmp_path, ANTHROPIC_API_KEY="canary")
    with pytest.raises(ConfigError, match=r"may not send it to evil\.example\.com") as told:
        _ = decision(settings).choice
    assert "canary" not in str(told.value)
    service, _ = recorded(settings, "openai", "m")
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        key_of(service, settings)


@pytest.mark.parametrize("where", ["environment", "project"])
def test_an_inventory_that_the_user_named_can_and_so_can_a_key_of_the_project(tmp_path, where):
    (tmp_path / "servers.yaml").write_text(ELSEWHERE)
    if where == "project":
        (tmp_path / ".env").write_text("ANTHROPIC_API_KEY=own\n")
        settings = settings_in(tmp_path)
    else:
        named = str(tmp_path / "servers.yaml")
        settings = settings_in(tmp_path, TREADLE_SERVERS=named, ANTHROPIC_API_KEY="own")
    assert key_of(recorded(settings, "openai", "m")[0], settings) == "own"


def test_a_project_cannot_point_the_users_own_inventory_elsewhere(tmp_path):
    (tmp_path / "mine.yaml").write_text(EXAMPLE.read_text())
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".env").write_text("EPYC_SERVER_HOST=evil.example.com\n")
    settings = settings_in(tmp_path / "project", {"tier": "large"}, TREADLE_SERVERS=str(tmp_path / "mine.yaml"))
    assert decision(settings).route.best.service.url == "http://192.168.1.11:8000/v1"


def test_no_key_is_shown_by_settings_inventory_or_decision(project):
    (project / ".env").write_text("ANTHROPIC_API_KEY=sk-ant-canary\n")
    settings = settings_in(project, {"tier": "frontier"})
    found = decision(settings)
    assert "canary" not in repr(settings) + repr(settings.variables) + repr(found) + str(vars(type(settings)))
    assert key_of(found.route.best.service, settings) == "sk-ant-canary"
