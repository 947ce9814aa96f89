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
from treadle.errors import ModelFileCorrupt, ModelTooLarge, ModelUnavailable, TreadleError, UnknownName
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.drivers.embedded import EmbeddedServer
from treadle.models.files import gguf, pull
from treadle.models.files.catalog import ModelFile, locate
from treadle.models.hosts import host
from treadle.models.hosts import start as host_start
from treadle.models.hosts.locks import FileLock
from treadle.models.hosts.place import PROTOCOL, Place, Runtime
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
    assert Runtime(found.runtime_dir).places() == []


def place_of(settings: ModelSettings) -> Place:
    return Runtime(settings.runtime_dir).place(locate("smollm2", settings).path)


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
    place = place_of(settings)
    for path in (place.address, place.log, place.door, place.use, place.life, Runtime(settings.runtime_dir).gate):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    arguments = Path(f"/proc/{endpoint.pid}/cmdline")
    assert not arguments.exists() or endpoint.api_key.encode() not in arguments.read_bytes()


def test_processes_that_start_at_the_same_time_share_one_host_that_outlives_them(settings):
    code = (
        "import asyncio, sys; from pathlib import Path; from treadle.models.hosts import host\n"
        "from treadle.models.files.catalog import locate; from treadle.settings import ModelSettings\n"
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
    place = place_of(settings)
    Runtime(settings.runtime_dir).prepare()
    place.folder.mkdir()
    stale = {
        "protocol": PROTOCOL,
        "pid": os.getpid(),
        "base_url": "http://127.0.0.1:9",
        "api_key": "x",
        "model": "smollm2:135m",
    }
    path = settings.cache_dir / "SmolLM2-135M-Instruct.Q4_1.gguf"
    found = path.stat()
    stale |= {"path": str(path.resolve()), "size": found.st_size, "mtime_ns": found.st_mtime_ns, "context": 9999}
    more = {"memory_bytes": 1, "device": "ram"}
    place.address.write_text(json.dumps({**stale, "parallel": 1, "threads": 1, "started": 0.0, **more}))
    assert asyncio.run(host.ps(settings)) == []
    assert asyncio.run(one_answer(settings))


def test_live_host_that_lost_its_address_file_is_ended_and_replaced(settings, monkeypatch):
    monkeypatch.setattr(host_start, "_LOST_SECONDS", 0.3)
    first = asyncio.run(host.ensure(locate("smollm2", settings), settings))
    place_of(settings).address.write_text("{broken")
    assert asyncio.run(host.ps(settings)) == []
    assert asyncio.run(host.ensure(locate("smollm2", settings), settings)).pid != first.pid


def test_model_that_loads_for_too_long_is_given_up_and_ended(settings):
    with pytest.raises(ModelUnavailable, match="did not load within"):
        asyncio.run(host.ensure(locate("smollm2", settings), replace(settings, load_seconds=0.2)))
    assert Runtime(settings.runtime_dir).places() == []


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


def copy_of(settings: ModelSettings, folder: Path, name: str) -> ModelFile:
    """The small model once more, as another model."""
    path = folder / f"{name}.gguf"
    os.link(locate("smollm2", settings).path, path)
    return ModelFile(str(path), path)


def holds_no_memory(pid: int) -> bool:
    """Its entry may stay until init has reaped it; its memory does not."""
    memory = Path(f"/proc/{pid}/statm")
    return not memory.exists() or memory.read_text().split()[1] == "0"


def room_for(settings: ModelSettings, count: int) -> ModelSettings:
    path = locate("smollm2", settings).path
    one = gguf.loaded(path, context=settings.context, parallel=settings.parallel)
    return replace(settings, memory_gb=(count + 0.5) * one.total / 1e9)


async def names(settings: ModelSettings) -> set[str]:
    return {Path(item.model).stem for item in await host.ps(settings)}


def test_models_that_fit_are_loaded_side_by_side_and_idle_ones_go_least_recently_used_first(settings, tmp_path):
    a, b, c = (copy_of(settings, tmp_path, name) for name in "abc")
    settings = room_for(settings, 2)

    async def run() -> None:
        first = await host.ensure(a, settings)
        second = await host.ensure(b, settings)
        assert first.pid != second.pid
        assert await names(settings) == {"a", "b"}
        assert (await host.ensure(a, settings)).pid == first.pid
        await host.ensure(c, settings)
        assert await names(settings) == {"a", "c"}
        assert holds_no_memory(second.pid)
        assert await host.unload(settings, str(a.path)) == [a.name]
        assert await names(settings) == {"c"}

    asyncio.run(run())


def test_model_that_does_not_fit_beside_one_in_use_waits_for_its_requests(settings, tmp_path):
    a, b = (copy_of(settings, tmp_path, name) for name in "ab")
    settings = room_for(settings, 1)
    order: list[str] = []

    async def run() -> None:
        notes: list[str] = []
        waited = asyncio.Event()

        def on_note(note: str) -> None:
            notes.append(note)
            waited.set()

        async def want_other() -> int:
            async with host.use(b, settings, on_note=on_note) as endpoint:
                order.append("b")
                return endpoint.pid

        async with host.use(a, settings) as endpoint:
            task = asyncio.create_task(want_other())
            await waited.wait()
            assert await names(settings) == {"a"}
            order.append("a")
        assert await task != endpoint.pid
        assert any(str(a.path) in note for note in notes)
        assert await names(settings) == {"b"}

    asyncio.run(run())
    assert order == ["a", "b"]


def test_users_of_a_loaded_model_do_not_wait_for_those_who_wait_for_room(settings, tmp_path):
    a, b = (copy_of(settings, tmp_path, name) for name in "ab")
    settings = room_for(settings, 1)

    async def run() -> None:
        waited = asyncio.Event()
        async with host.use(a, settings) as endpoint:
            task = asyncio.create_task(host.ensure(b, settings, on_note=lambda note: waited.set()))
            await waited.wait()
            async with host.use(a, settings) as again:
                assert again.pid == endpoint.pid
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        # Whoever was cancelled while it waited holds no lock.
        await host.ensure(b, settings)

    asyncio.run(run())


def test_without_leave_to_evict_no_room_is_an_error_that_names_what_is_loaded(settings, tmp_path):
    a, b = (copy_of(settings, tmp_path, name) for name in "ab")
    settings = room_for(settings, 1)

    async def run() -> None:
        await host.ensure(a, settings)
        with pytest.raises(ModelUnavailable, match=r"loaded are .*a\.gguf") as told:
            async with host.use(b, settings, may_evict=False):
                pass
        assert not isinstance(told.value, ModelTooLarge)
        assert await names(settings) == {"a"}

    asyncio.run(run())


async def test_driver_loads_answers_and_unloads_and_tells_the_truth_about_memory(settings, tmp_path):
    settings = room_for(settings, 1)
    other = copy_of(settings, tmp_path, "other").name
    server = EmbeddedServer(settings, contexts={"smollm2": 512})
    size = await server.size_bytes("smollm2")
    resident = await server.load("smollm2")
    assert (resident.model, resident.context, resident.in_flight) == ("smollm2", 512, 0)
    assert (await server.load("smollm2:135m")).bytes == resident.bytes == size
    assert (await server.model.reply(question())).text
    (memory,) = await server.memory()
    assert memory.used_bytes == size <= memory.total_bytes
    with pytest.raises(ModelUnavailable):
        await server.load(other)
    assert [item.model for item in await server.residents()] == ["smollm2"]
    await server.unload("smollm2")
    await server.unload("smollm2")
    assert (await server.load(other)).model == other
    with pytest.raises(UnknownName):
        await server.size_bytes("nonesuch")
    await server.close()


def test_model_that_can_never_fit_is_refused_and_evicts_nobody(settings, tmp_path):
    a = copy_of(settings, tmp_path, "a")
    asyncio.run(host.ensure(a, settings))
    with pytest.raises(ModelTooLarge, match=r"may take 0\.05 GB here \(model\.memory_gb\)") as told:
        asyncio.run(host.ensure(locate("smollm2", settings), replace(settings, memory_gb=0.05)))
    assert "TREADLE_MODEL_MEMORY_GB" in told.value.hint
    assert asyncio.run(names(settings)) == {"a"}


def test_budget_holds_for_processes_that_want_different_models_at_the_same_time(settings, tmp_path):
    models = [copy_of(settings, tmp_path, name) for name in "abcd"]
    settings = room_for(settings, 2)
    code = (
        "import asyncio, sys; from pathlib import Path; from treadle.models.hosts import host\n"
        "from treadle.models.files.catalog import ModelFile; from treadle.settings import ModelSettings\n"
        "s = ModelSettings(runtime_dir=Path(sys.argv[1]), threads=1, context=1024, memory_gb=float(sys.argv[2]))\n"
        "for name in sys.argv[3:]: asyncio.run(host.ensure(ModelFile(name, Path(name)), s))"
    )
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    start = [sys.executable, "-c", code, str(settings.runtime_dir), str(settings.memory_gb)]
    wanted = [[m.name for m in (models[i:] + models[:i])[:3]] for i in range(3)]
    users = [subprocess.Popen([*start, *mine], env=env) for mine in wanted]
    seen = []
    while any(user.poll() is None for user in users):
        loaded = asyncio.run(host.ps(settings))
        assert sum(max(item.memory_bytes, item.rss_bytes) for item in loaded) <= settings.memory_gb * 1e9
        seen.append(len(loaded))
    assert [user.returncode for user in users] == [0, 0, 0]
    assert max(seen) == 2


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
        life = FileLock(place_of(brief).life)
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
        assert holds_no_memory(endpoint.pid)

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
