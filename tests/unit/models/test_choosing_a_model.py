"""Who answers, and why."""

from __future__ import annotations

import asyncio
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from treadle.errors import ConfigError, ModelUnavailable, UnknownName
from treadle.models.choose import Choice, choose
from treadle.models.files.catalog import DEFAULT_MODEL
from treadle.models.inventory.shipped import OllamaTag, ollama_tags, pick_coding_model
from treadle.settings import load_settings

GIB = 1 << 30
OLLAMA = [OllamaTag("llama3.2:3b", 2 * GIB), OllamaTag("qwen3-coder:4b", 1 * GIB)]


def decide(
    tmp_path: Path,
    flags: dict[str, object] | None = None,
    env: dict[str, str] | None = None,
    ollama: list[OllamaTag] | None = None,
) -> tuple[Choice, list[str]]:
    asked: list[str] = []

    async def probe(url: str) -> list[OllamaTag] | None:
        asked.append(url)
        return ollama

    settings = load_settings(tmp_path, flags, {"HOME": str(tmp_path), **(env or {})})
    return asyncio.run(choose(settings, probe=probe)), asked


def test_flag_comes_first_and_is_the_reason(tmp_path):
    choice, _ = decide(tmp_path, {"model": "qwen2.5-coder:0.5b"}, {"TREADLE_MODEL": "smollm2"})
    assert choice == Choice("qwen2.5-coder:0.5b", "embedded", "because the flag --model names it")


def test_configuration_comes_second(tmp_path):
    (tmp_path / "treadle.toml").write_text('[model]\nmodel = "smollm2"\n')
    choice, _ = decide(tmp_path)
    assert (choice.model, choice.provider) == ("smollm2:135m", "embedded")
    assert "treadle.toml" in choice.reason


def test_running_ollama_comes_third_with_its_coding_model(tmp_path):
    choice, asked = decide(tmp_path, ollama=OLLAMA)
    assert (choice.model, choice.provider) == ("qwen3-coder:4b", "ollama")
    assert asked == ["http://127.0.0.1:11434"]
    assert "Ollama is running" in choice.reason


def test_embedded_default_comes_last_and_says_why(tmp_path):
    choice, _ = decide(tmp_path)
    assert (choice.model, choice.provider) == (DEFAULT_MODEL, "embedded")
    assert "no Ollama is running" in choice.reason


def test_ollama_without_a_model_for_code_is_passed_over(tmp_path):
    choice, _ = decide(tmp_path, ollama=OLLAMA[:1])
    assert choice.provider == "embedded"
    assert "no model for code" in choice.reason


def test_ollama_on_another_machine_is_not_asked_by_itself(tmp_path):
    choice, asked = decide(tmp_path, env={"OLLAMA_HOST": "gpu.example.com"}, ollama=OLLAMA)
    assert (choice.provider, asked) == ("embedded", [])


def test_ollama_on_another_machine_is_used_when_named(tmp_path):
    choice, _ = decide(tmp_path, {"provider": "ollama"}, {"OLLAMA_HOST": "gpu.example.com"}, OLLAMA)
    assert (choice.model, choice.provider) == ("qwen3-coder:4b", "ollama")


def test_key_in_the_environment_chooses_nobody(tmp_path):
    env = {"OPENAI_API_KEY": "sk-secret", "TREADLE_OPENAI_BASE_URL": "https://api.openai.com/v1"}
    assert decide(tmp_path, env=env)[0].provider == "embedded"


def test_openai_needs_an_address_and_a_model(tmp_path):
    with pytest.raises(ConfigError, match="openai_base_url and model"):
        decide(tmp_path, {"provider": "openai"})


def test_openai_is_chosen_when_named(tmp_path):
    env = {"TREADLE_OPENAI_BASE_URL": "https://api.openai.com/v1"}
    choice, asked = decide(tmp_path, {"provider": "openai", "model": "gpt-9"}, env)
    assert (choice.model, choice.provider, asked) == ("gpt-9", "openai", [])


def test_provider_may_stand_before_the_name(tmp_path):
    choice, _ = decide(tmp_path, {"model": "ollama/qwen3-coder:4b"}, ollama=OLLAMA)
    assert (choice.model, choice.provider) == ("qwen3-coder:4b", "ollama")


def test_named_model_that_ollama_has_is_answered_by_ollama(tmp_path):
    choice, _ = decide(tmp_path, {"model": "llama3.2:3b"}, ollama=OLLAMA)
    assert (choice.model, choice.provider) == ("llama3.2:3b", "ollama")


def test_unknown_model_offers_the_nearest(tmp_path):
    with pytest.raises(UnknownName) as told:
        decide(tmp_path, {"model": "qwen2.5-coder:1.5"})
    assert told.value.hint == "Did you mean 'qwen2.5-coder:1.5b'?"


def test_ollama_named_but_silent_is_an_error(tmp_path):
    with pytest.raises(ModelUnavailable, match="does not answer"):
        decide(tmp_path, {"provider": "ollama"})


def test_model_that_ollama_lacks_is_an_error_when_ollama_is_named(tmp_path):
    with pytest.raises(UnknownName):
        decide(tmp_path, {"provider": "ollama", "model": "nope"}, ollama=OLLAMA)


def test_own_file_is_embedded(tmp_path):
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF....")
    choice, asked = decide(tmp_path, {"model": str(own)}, ollama=OLLAMA)
    assert (choice.model, choice.provider, asked) == (str(own), "embedded", [])


def test_largest_coding_model_that_fits_is_picked():
    tags = [
        OllamaTag("qwen3-coder:30b", 18 * GIB),
        OllamaTag("qwen2.5-coder:7b", 5 * GIB),
        OllamaTag("code-embed", GIB),
    ]
    assert pick_coding_model(tags, 16 * GIB) == "qwen2.5-coder:7b"
    assert pick_coding_model(tags, 64 * GIB) == "qwen3-coder:30b"
    assert pick_coding_model(tags, 4 * GIB) == "qwen2.5-coder:7b"
    assert pick_coding_model(tags[2:], 64 * GIB) is None


def test_models_that_ollama_passes_on_to_a_service_do_not_count(web):
    listed = [{"name": "big-coder:cloud", "size": 300}, {"name": "x-coder", "remote_host": "https://ollama.com"}]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(json.dumps({"models": [*listed, {"name": "tiny-coder:1b", "size": 5}]}).encode())

    web.answer = answer
    assert asyncio.run(ollama_tags(web.url)) == [OllamaTag("tiny-coder:1b", 5)]


def test_something_else_on_ollamas_port_is_no_ollama(web, free_port):
    assert asyncio.run(ollama_tags(web.url)) is None
    assert asyncio.run(ollama_tags(f"http://127.0.0.1:{free_port}")) is None
