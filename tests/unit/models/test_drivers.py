"""Drivers of servers that load and unload, against servers on loopback that speak the true protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from treadle.domain.inventory import Gpu, Inventory, ModelEntry, Service, ServiceKind
from treadle.errors import ModelTooLarge, ModelUnavailable, Refused, UnknownName, UsageError
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.drivers import ollama as ollama_driver
from treadle.models.drivers import server_of
from treadle.models.drivers.embedded import EmbeddedServer
from treadle.ports.model_server import ModelServer
from treadle.settings import ModelSettings
from treadle.testing.loopback_http import Exchange, LoopbackServer
from treadle.testing.model_servers import ToyOllama, ToyRouter, ToyServer, ToyVllm

pytest.importorskip("ollama")
pytest.importorskip("openai")

GB = 10**9
SETTINGS = ModelSettings(load_seconds=5)
CARD = (Gpu("RTX 4060", 8),)


def service(kind: ServiceKind, url: str, **more: object) -> Service:
    path = "/v1" if kind in ("llama_server", "vllm") else ""
    return replace(Service("box.here", kind, url + path, gpus=CARD, memory_gb=8.0), **more)


@asynccontextmanager
async def driver_of(
    toy: ToyServer, kind: ServiceKind, *entries: ModelEntry, **more: object
) -> AsyncIterator[ModelServer]:
    async with LoopbackServer(toy.play) as there:
        inventory = Inventory(models={entry.name: entry for entry in entries})
        server = server_of(service(kind, there.url, **more), inventory, SETTINGS)
        try:
            yield server
        finally:
            await server.close()


def entry(name: str, size_gb: float | None = None, context: int = 4096) -> ModelEntry:
    return ModelEntry(name, "box.here", name, context=context, size_gb=size_gb)


def toys() -> list[tuple[ServiceKind, ToyServer]]:
    return [
        ("ollama", ToyOllama({"qwen3:4b": 3 * GB, "gemma3:12b": 9 * GB})),
        ("llama_server", ToyRouter({"qwen3:4b": 3 * GB, "gemma3:12b": 9 * GB})),
        ("vllm", ToyVllm({"qwen3:4b": 3 * GB})),
    ]


@pytest.fixture
def toy(kind: ServiceKind) -> ToyServer:
    return dict(toys())[kind]


EACH = pytest.mark.parametrize("kind", ["ollama", "llama_server", "vllm"])
TWO = pytest.mark.parametrize("kind", ["ollama", "llama_server"])


@EACH
async def test_each_loads_once_tells_it_and_unloads_once(kind, toy):
    async with driver_of(toy, kind, entry("qwen3:4b", 3.0)) as server:
        assert await server.residents() == []
        notes: list[str] = []
        resident = await server.load("qwen3:4b", on_note=notes.append)
        assert (resident.model, resident.bytes, resident.gpu_share, resident.context) == ("qwen3:4b", 3 * GB, 1.0, 4096)
        asked = len(toy.asked)
        assert (await server.load("qwen3:4b")).bytes == 3 * GB
        changes = [path for path, body in toy.asked[asked:] if body is not None or path == "/wake_up"]
        assert changes == []
        (memory,) = await server.memory()
        assert (memory.device, memory.total_bytes, memory.used_bytes) == ("gpu0", 8 * GB, 3 * GB)
        assert notes == ["box.here: loading qwen3:4b"]
        await server.unload("qwen3:4b")
        await server.unload("qwen3:4b")
        assert await server.residents() == []
        assert (await server.memory())[0].used_bytes == 0


@EACH
async def test_each_names_what_it_has_when_asked_for_another_model(kind, toy):
    async with driver_of(toy, kind) as server:
        for ask in (server.load, server.size_bytes):
            with pytest.raises(UnknownName) as told:
                await ask("qwen3:5b")
            assert "qwen3:4b" in told.value.hint


@EACH
async def test_each_says_where_nobody_answers(kind):
    nowhere = server_of(service(kind, "http://127.0.0.1:9"), Inventory(), SETTINGS)
    with pytest.raises(ModelUnavailable, match=r"http://127\.0\.0\.1:9 was not reached") as told:
        await nowhere.residents()
    assert "running there?" in told.value.hint
    await nowhere.close()


@EACH
async def test_each_says_when_a_web_page_answers(kind, toy):
    toy.behaviour = "html"
    async with driver_of(toy, kind) as server:
        with pytest.raises(ModelUnavailable, match=r"no JSON \(text/html\)") as told:
            await server.load("qwen3:4b")
        assert "check the address" in told.value.hint


@EACH
async def test_each_says_when_the_server_dies_in_the_middle_of_a_load(kind, toy):
    toy.behaviour = "cut"
    async with driver_of(toy, kind) as server:
        with pytest.raises(ModelUnavailable, match="broke off") as told:
            await server.load("qwen3:4b")
        assert "died" in told.value.hint


@EACH
async def test_each_gives_up_on_a_server_that_says_yes_and_does_nothing(kind, toy):
    toy.behaviour = "deaf"
    async with LoopbackServer(toy.play) as there:
        server = server_of(service(kind, there.url), Inventory(), ModelSettings(load_seconds=0.2))
        with pytest.raises(ModelUnavailable, match=r"'qwen3:4b' did not load within 0\.2 s"):
            await server.load("qwen3:4b")
        await server.close()


@TWO
async def test_model_larger_than_the_card_is_refused_before_the_server_is_told(kind, toy):
    async with driver_of(toy, kind, entry("gemma3:12b", 9.0)) as server:
        with pytest.raises(ModelTooLarge, match=r"needs 9\.0 GB, and models may take 8\.0 GB") as told:
            await server.load("gemma3:12b")
        assert "smaller model" in told.value.hint
        assert not [path for path, body in toy.asked if path in ("/api/generate", "/models/load")]


@TWO
async def test_model_that_does_not_fit_beside_another_evicts_nobody(kind, toy):
    toy.sizes = {"a": 5 * GB, "b": 4 * GB}
    async with driver_of(toy, kind, entry("a", 5.0), entry("b", 4.0)) as server:
        await server.load("a")
        with pytest.raises(ModelUnavailable, match=r"a \(5\.0 GB\) are loaded") as told:
            await server.load("b")
        assert not isinstance(told.value, ModelTooLarge)
        assert [item.model for item in await server.residents()] == ["a"]
        await server.unload("a")
        assert (await server.load("b")).model == "b"


async def test_refusal_names_the_variable_of_the_key_and_not_the_key():
    async def play(exchange: Exchange) -> None:
        await exchange.whole(401, b'{"error": "unauthorized"}')

    async with LoopbackServer(play) as there:
        closed = service("llama_server", there.url, api_key_env="MY_KEY")
        server = server_of(closed, Inventory(), SETTINGS, key="s3cret")
        with pytest.raises(Refused, match="unauthorized") as told:
            await server.residents()
        assert "MY_KEY" in told.value.hint
        assert "s3cret" not in str(told.value) + told.value.hint
        assert there.asked[0].headers["authorization"] == "Bearer s3cret"
        await server.close()


async def test_ollama_is_told_to_keep_a_model_for_ever_with_the_context_of_the_inventory():
    toy = ToyOllama({"llama3:latest": 4 * GB})
    async with driver_of(toy, "ollama", entry("llama3", context=8192)) as server:
        assert (await server.load("llama3")).context == 8192
        (body,) = [body for path, body in toy.asked if path == "/api/generate"]
        assert (body["keep_alive"], body["options"]) == (-1, {"num_ctx": 8192})
        assert "prompt" not in body


async def test_ollama_loads_anew_what_somebody_loaded_with_a_smaller_context():
    toy = ToyOllama({"qwen3:4b": 3 * GB}, loaded={"qwen3:4b": 2048})
    async with driver_of(toy, "ollama", entry("qwen3:4b", context=8192)) as server:
        assert (await server.load("qwen3:4b")).context == 8192


async def test_ollama_tells_how_much_of_a_model_lies_on_cards():
    toy = ToyOllama({"a": 4 * GB}, loaded={"a": 4096}, gpu_share=0.25)
    async with driver_of(toy, "ollama") as server:
        (resident,) = await server.residents()
        assert (resident.gpu_share, resident.in_flight) == (0.25, None)
        assert (await server.memory())[0].used_bytes == 1 * GB


async def test_ollamas_own_words_stand_in_the_error_when_it_has_no_memory():
    toy = ToyOllama({"a": 4 * GB}, behaviour="full")
    async with driver_of(toy, "ollama") as server:
        with pytest.raises(ModelUnavailable, match="requires more system memory") as told:
            await server.load("a")
        assert "smaller" in told.value.hint


async def test_size_in_ollama_is_reckoned_before_the_first_load_and_learnt_by_it():
    info = {
        "general.architecture": "qwen2",
        "qwen2.block_count": 28,
        "qwen2.embedding_length": 1536,
        "qwen2.attention.head_count": 12,
        "qwen2.attention.head_count_kv": 2,
    }
    toy = ToyOllama({"a": 1 * GB}, info=info)
    async with driver_of(toy, "ollama", entry("a", context=8192)) as server:
        assert await server.size_bytes("a") == 1 * GB + 28672 * 8192 + (512 << 20)
        await server.load("a")
        assert await server.size_bytes("a") == 1 * GB


async def test_models_on_several_cards_are_reckoned_to_the_card_with_most_room_or_to_all():
    cards = (Gpu("A", 8), Gpu("B", 12))
    sizes = {"a": 10 * GB, "b": 6 * GB}
    toy = ToyOllama(sizes, loaded=dict.fromkeys(sizes, 4096))
    async with driver_of(toy, "ollama", gpus=cards, memory_gb=20.0) as server:
        assert [(m.device, m.total_bytes // GB, m.used_bytes // GB) for m in await server.memory()] == [
            ("gpu0", 8, 6),
            ("gpu1", 12, 10),
        ]
    split = ToyOllama({"a": 15 * GB}, loaded={"a": 4096})
    async with driver_of(split, "ollama", gpus=cards, memory_gb=20.0) as server:
        assert [m.used_bytes // GB for m in await server.memory()] == [6, 9]


async def test_router_reports_a_load_that_failed_with_its_exit_code():
    toy = ToyRouter({"a": 4 * GB}, behaviour="full")
    async with driver_of(toy, "llama_server") as server:
        with pytest.raises(ModelUnavailable, match="exit code 1") as told:
            await server.load("a")
        assert "too little memory" in told.value.hint
        toy.behaviour = ""
        toy.failed.clear()
        assert (await server.load("a")).model == "a"


async def test_vllm_says_how_many_requests_it_has_and_sleeps_with_its_weights_in_ram():
    toy = ToyVllm({"a": 4 * GB}, loaded={"a": 4096}, running=2)
    async with driver_of(toy, "vllm") as server:
        assert [item.in_flight for item in await server.residents()] == [3]
        await server.unload("a")
        assert "/sleep?level=1" in [path for path, _ in toy.asked]


async def test_vllm_without_sleep_mode_is_always_loaded_and_says_how_to_change_that():
    toy = ToyVllm({"a": 4 * GB}, can_sleep=False)
    async with driver_of(toy, "vllm") as server:
        assert (await server.load("a")).model == "a"
        with pytest.raises(ModelUnavailable, match="did not go to sleep") as told:
            await server.unload("a")
        assert "--enable-sleep-mode" in told.value.hint


async def test_ollama_pulls_with_progress():
    seen: list[tuple[int, int, str]] = []
    toy = ToyOllama({}, registry={"qwen3:4b": 400})
    async with LoopbackServer(toy.play) as there:
        await ollama_driver.pull(there.url, "qwen3:4b", lambda *at: seen.append(at))
        assert [(done, total) for done, total, _ in seen[1:4]] == [(0, 400), (100, 400), (400, 400)]
        assert seen[-1] == (400, 400, "success")
        with pytest.raises(UnknownName, match="qwen3:5b"):
            await ollama_driver.pull(there.url, "qwen3:5b", lambda *at: None)
        toy.behaviour = "cut"
        with pytest.raises(ModelUnavailable, match="broke off while it fetched") as told:
            await ollama_driver.pull(there.url, "qwen3:4b", lambda *at: None)
        assert "Pull again" in told.value.hint


def test_embedded_server_takes_budget_slots_and_contexts_from_the_inventory(tmp_path):
    own = Service("here.llama", "llama_cpp", memory_gb=3.0, concurrency=1)
    models = {"small": ModelEntry("small", "here.llama", "smollm2", context=2048)}
    server = server_of(own, Inventory(models=models), ModelSettings(runtime_dir=tmp_path))
    assert isinstance(server, EmbeddedServer)
    assert isinstance(server.model, EmbeddedModel)
    used = server.model.settings_of("smollm2:135m")
    assert (server.name, used.context, used.memory_gb, used.parallel) == ("here.llama", 2048, 3.0, 1)


def test_service_that_only_answers_has_no_driver():
    with pytest.raises(UsageError, match="nothing can be loaded") as told:
        server_of(Service("openai.api", "openai", "http://127.0.0.1:9/v1"), Inventory(), SETTINGS)
    assert "ollama" in told.value.hint
