"""The model host with a real small model: shared, swapped, killed, idle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from treadle.domain.messages import Message, ModelRequest
from treadle.errors import ModelFileCorrupt, ModelUnavailable, TreadleError
from treadle.models import host, pull
from treadle.models.catalog import ModelFile, locate
from treadle.models.embedded import EmbeddedModel
from treadle.models.locks import FileLock, is_held
from treadle.models.place import Place
from treadle.settings import ModelSettings, load_settings

pytest.importorskip("xllamacpp")
pytest.importorskip("openai")
pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(180)]

SRC = Path(host.__file__).parents[2]


@pytest.fixture(scope="module")
def small_model() -> Path:
    settings = load_settings(Path.cwd()).model
    try:
        return asyncio.run(pull.pull("smollm2", settings)).path
    except TreadleError as exc:
        pytest.skip(f"the small model cannot be had: {exc}")


@pytest.fixture
def settings(small_model: Path, tmp_path: Path) -> Iterator[ModelSettings]:
    found = ModelSettings(
        cache_dir=small_model.parent, runtime_dir=tmp_path / "run", threads=1, context=1024, parallel=2, idle_seconds=60
    )
    yield found
    asyncio.run(host.unload(found))
    assert not is_held(Place(found.runtime_dir).life)


def question(text: str = "Say hello.", max_tokens: int = 8) -> ModelRequest:
    return ModelRequest(model="smollm2", messages=(Message("user", text),), max_tokens=max_tokens)


async def one_answer(settings: ModelSettings) -> str:
    model = EmbeddedModel(settings)
    try:
        return (await model.reply(question())).text
    finally:
        await model.close()


def test_concurrent_requests_share_one_host(settings):
    async def run() -> None:
        model = EmbeddedModel(settings)
        replies = await asyncio.gather(*(model.reply(question()) for _ in range(4)))
        assert len({reply.text for reply in replies}) == 1
        assert all(reply.usage.output_tokens > 0 for reply in replies)
        (loaded,) = await host.ps(settings)
        assert (loaded.model, loaded.in_flight) == ("smollm2:135m", 0)
        assert loaded.rss_bytes > 50 << 20
        await model.close()

    asyncio.run(run())


def test_address_and_token_are_for_this_user_only(settings):
    endpoint = asyncio.run(host.ensure(locate("smollm2", settings), settings))
    assert endpoint.api_key not in repr(endpoint)
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert httpx2.post(f"{endpoint.base_url}/chat/completions", json={}, trust_env=False).status_code == 401
    place = Place(settings.runtime_dir)
    for path in (place.address, place.log, place.gate, place.use, place.life):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    arguments = Path(f"/proc/{endpoint.pid}/cmdline")
    assert not arguments.exists() or endpoint.api_key.encode() not in arguments.read_bytes()


def test_processes_that_start_at_the_same_time_share_one_host_that_outlives_them(settings):
    code = (
        "import asyncio, sys; from pathlib import Path; from treadle.models import host\n"
        "from treadle.models.catalog import locate; from treadle.settings import ModelSettings\n"
        "s = ModelSettings(cache_dir=Path(sys.argv[1]), runtime_dir=Path(sys.argv[2]), threads=1, context=1024)\n"
        "print(asyncio.run(host.ensure(locate('smollm2', s), s)).pid)"
    )
    command = [sys.executable, "-c", code, str(settings.cache_dir), str(settings.runtime_dir)]
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    starters = [subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) for _ in range(3)]
    pids = {int(starter.communicate(timeout=90)[0]) for starter in starters}
    (loaded,) = asyncio.run(host.ps(settings))
    assert pids == {loaded.pid}


def test_killed_host_is_started_again_by_the_next_request(settings):
    first = asyncio.run(host.ensure(locate("smollm2", settings), settings))
    os.kill(first.pid, signal.SIGKILL)
    assert asyncio.run(one_answer(settings))
    (loaded,) = asyncio.run(host.ps(settings))
    assert loaded.pid != first.pid


def test_host_killed_in_the_middle_of_an_answer_is_unavailable_and_then_back(settings):
    async def run() -> None:
        model = EmbeddedModel(settings)
        pid = (await host.ensure(locate("smollm2", settings), settings)).pid
        with pytest.raises(ModelUnavailable, match="broke off"):
            await model.reply(question("Count to 500.", 400), on_delta=lambda text: os.kill(pid, signal.SIGKILL))
        assert await host.ps(settings) == []
        assert (await model.reply(question())).text
        await model.close()

    # The kill is repeated for each piece that was already on its way.
    real = os.kill

    def kill_once(pid: int, number: int) -> None:
        try:
            real(pid, number)
        except ProcessLookupError:
            pass

    os.kill = kill_once
    try:
        asyncio.run(run())
    finally:
        os.kill = real


def test_stale_address_of_a_dead_host_is_ignored(settings):
    place = Place(settings.runtime_dir)
    place.prepare()
    stale = {
        "protocol": 1,
        "pid": os.getpid(),
        "base_url": "http://127.0.0.1:9",
        "api_key": "x",
        "model": "smollm2:135m",
    }
    path = settings.cache_dir / "SmolLM2-135M-Instruct.Q4_1.gguf"
    found = path.stat()
    stale |= {"path": str(path.resolve()), "size": found.st_size, "mtime_ns": found.st_mtime_ns, "context": 9999}
    place.address.write_text(json.dumps({**stale, "parallel": 1, "threads": 1, "started": 0.0}))
    assert asyncio.run(host.ps(settings)) == []
    assert asyncio.run(one_answer(settings))


def test_live_host_that_lost_its_address_file_is_ended_and_replaced(settings, monkeypatch):
    monkeypatch.setattr(host, "_LOST_SECONDS", 0.3)
    first = asyncio.run(host.ensure(locate("smollm2", settings), settings))
    Place(settings.runtime_dir).address.write_text("{broken")
    assert asyncio.run(host.ps(settings)) == []
    assert asyncio.run(host.ensure(locate("smollm2", settings), settings)).pid != first.pid


def test_model_that_loads_for_too_long_is_given_up_and_ended(settings):
    with pytest.raises(ModelUnavailable, match="did not load within"):
        asyncio.run(host.ensure(locate("smollm2", settings), replace(settings, load_seconds=0.2)))
    assert not is_held(Place(settings.runtime_dir).life)


def test_cancelled_request_frees_its_slot(settings):
    async def run() -> None:
        model = EmbeddedModel(settings)
        begun = asyncio.Event()
        task = asyncio.create_task(model.reply(question("Count.", 900), on_delta=lambda text: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await model.reply(question())).text
        await model.close()
        (loaded,) = await host.ps(settings)
        assert loaded.in_flight == 0

    asyncio.run(run())


def test_another_model_waits_for_requests_in_flight_and_then_takes_the_place(settings, tmp_path):
    other_path = tmp_path / "other.gguf"
    os.link(settings.cache_dir / "SmolLM2-135M-Instruct.Q4_1.gguf", other_path)
    other = ModelFile(str(other_path), other_path)
    order: list[str] = []

    async def run() -> None:
        notes: list[str] = []
        waited = asyncio.Event()

        def on_note(note: str) -> None:
            notes.append(note)
            waited.set()

        async def want_other() -> int:
            async with host.use(other, settings, on_note=on_note) as endpoint:
                order.append("other")
                return endpoint.pid

        async with host.use(locate("smollm2", settings), settings) as endpoint:
            task = asyncio.create_task(want_other())
            await waited.wait()
            assert [item.model for item in await host.ps(settings)] == ["smollm2:135m"]
            order.append("first")
        assert await task != endpoint.pid
        assert any("smollm2:135m" in note for note in notes)
        assert [item.model for item in await host.ps(settings)] == [str(other_path)]

    asyncio.run(run())
    assert order == ["first", "other"]


def test_larger_context_is_loaded_anew_and_a_smaller_one_is_not(settings):
    async def run() -> None:
        model = locate("smollm2", settings)
        first = await host.ensure(model, settings)
        assert (await host.ensure(model, replace(settings, context=512))).pid == first.pid
        assert (await host.ensure(model, replace(settings, context=2048))).pid != first.pid

    asyncio.run(run())


def test_idle_host_ends_by_itself(settings):
    async def run() -> None:
        brief = replace(settings, idle_seconds=1.0)
        await host.ensure(locate("smollm2", brief), brief)
        # Nothing is called while it waits: its death is seen from its lock.
        life = FileLock(Place(brief.runtime_dir).life)
        async with asyncio.timeout(20):
            await life.take()
        life.release()

    asyncio.run(run())


def test_unload_frees_the_process_and_is_idempotent(settings):
    async def run() -> None:
        endpoint = await host.ensure(locate("smollm2", settings), settings)
        assert await host.unload(settings, "qwen2.5-coder:0.5b") == []
        assert await host.unload(settings, "smollm2") == ["smollm2:135m"]
        assert await host.unload(settings) == []
        # Its entry may stay until init has reaped it; its memory does not.
        memory = Path(f"/proc/{endpoint.pid}/statm")
        assert not memory.exists() or memory.read_text().split()[1] == "0"

    asyncio.run(run())


@pytest.mark.parametrize("size", [4, 100_000, 90_000_000])
def test_damaged_file_is_one_clear_error_with_llama_cpps_words(settings, tmp_path, size):
    bad = tmp_path / "bad.gguf"
    whole = settings.cache_dir / "SmolLM2-135M-Instruct.Q4_1.gguf"
    with whole.open("rb") as file:
        bad.write_bytes(file.read(size))
    with pytest.raises(ModelFileCorrupt, match=r"bad\.gguf") as told:
        asyncio.run(host.ensure(locate(str(bad), settings), settings))
    assert told.value.exit_code == 5
    assert "Traceback" not in str(told.value)
    assert "host.log" in told.value.hint
    assert asyncio.run(host.ps(settings)) == []


def test_catalogue_model_that_is_not_here_says_how_to_fetch_it(settings, tmp_path):
    empty = replace(settings, cache_dir=tmp_path / "none")
    with pytest.raises(ModelUnavailable) as told:
        asyncio.run(one_answer(empty))
    assert "treadle models pull smollm2:135m" in told.value.hint
