"""Looking at, loading and unloading models of all servers of this machine, with an Ollama on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from treadle.errors import UnknownName
from treadle.services import doctor
from treadle.services.model_servers import ModelServers
from treadle.services.models import Models
from treadle.settings import Settings, load_settings
from treadle.testing.loopback_http import LoopbackServer
from treadle.testing.model_servers import ToyOllama

pytest.importorskip("ollama")
GB = 10**9


@pytest.fixture
def toy() -> ToyOllama:
    return ToyOllama({"qwen3:4b": 3 * GB}, gpu_share=0.5, registry={"gemma3:1b": 800})


@pytest.fixture
async def settings(toy: ToyOllama, tmp_path: Path) -> AsyncIterator[Settings]:
    async with LoopbackServer(toy.play) as there:
        found = load_settings(tmp_path, environ={"HOME": str(tmp_path)})
        yield replace(found, model=replace(found.model, ollama_url=there.url))


async def test_model_of_ollama_is_loaded_listed_and_unloaded(settings):
    servers = ModelServers(settings)
    view = await servers.load("qwen3:4b")
    assert (view.model, view.server, view.memory_bytes, view.gpu_share) == ("qwen3:4b", "ollama", 3 * GB, 0.5)
    loaded, silent = await servers.loaded()
    assert (list(loaded), list(silent)) == ([view], [])
    assert await servers.unload() == [], "without a name only embedded models go"
    assert await servers.unload("ollama/qwen3:4b") == ["qwen3:4b"]
    assert await servers.unload("qwen3:4b") == []
    assert (await servers.loaded())[0] == []


async def test_name_that_no_server_here_has_offers_the_nearest(settings):
    with pytest.raises(UnknownName) as told:
        await ModelServers(settings).load("qwen3:5b")
    assert "'qwen3:4b'" in told.value.hint
    with pytest.raises(UnknownName):
        await ModelServers(settings).unload("qwen3:5b")


async def test_server_that_does_not_answer_is_told_beside_those_that_do(settings, tmp_path):
    (tmp_path / "servers.yaml").write_text(
        "servers:\n  box:\n    address: 127.0.0.1\n    services:\n"
        "      vllm: {port: 9, models: [qwen3-8b]}\n"
        f"      ollama: {{port: {settings.model.ollama_url.rsplit(':', 1)[1]}, models: ['qwen3:4b']}}\n"
        "routing: {tiers: {small: ['qwen3:4b']}}\n"
    )
    servers = ModelServers(settings)
    assert (await servers.load("qwen3:4b")).server == "box.ollama"
    loaded, silent = await servers.loaded()
    assert [view.model for view in loaded] == ["qwen3:4b"]
    assert [one.server for one in silent] == ["box.vllm"]
    assert "127.0.0.1:9 was not reached" in silent[0].why


async def test_ollama_fetches_what_is_named_after_it(settings):
    seen: list[tuple[int, int, str]] = []
    pulled = await Models(settings).pull("ollama/gemma3:1b", lambda *at: seen.append(at))
    assert (pulled.name, pulled.path) == ("gemma3:1b", f"Ollama at {settings.model.ollama_url}")
    assert (800, 800, "success") in seen


async def test_doctor_tells_cards_memory_and_ollama(settings):
    found = {item.name: item async for item in doctor.examine(settings)}
    assert "GB for embedded models (" in found["model memory"].what
    assert "qwen3:4b" in found["ollama"].what
    assert [name for name in found if name.startswith("gpu")]
