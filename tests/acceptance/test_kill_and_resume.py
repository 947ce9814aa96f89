"""kill -9 at any moment: nothing recorded is lost, and no recorded reply of the model is asked for again."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import Commands, until
from counting_proxy import CountingProxy, name_of

from treadle.domain.codec import from_plain

MODEL = "qwen2.5-coder:0.5b"
GOAL = "a Python function that adds two numbers"
KILLS = 10


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[CountingProxy]:
    """A real model behind a proxy that sees every question, whichever process asks it."""
    pytest.importorskip("xllamacpp")
    from treadle.errors import TreadleError
    from treadle.models.files import pull
    from treadle.models.hosts import host
    from treadle.settings import ModelSettings, load_settings

    found = load_settings(Path.cwd()).model
    try:
        model = asyncio.run(pull.pull(MODEL, found))
    except TreadleError as error:
        pytest.skip(f"{MODEL} cannot be had: {error}")
    settings = ModelSettings(cache_dir=model.path.parent, runtime_dir=tmp_path / "host", threads=1, idle_seconds=120)
    endpoint = asyncio.run(host.ensure(model, settings))
    proxy = CountingProxy(endpoint.base_url, endpoint.api_key)
    yield proxy
    proxy.close()
    asyncio.run(host.unload(settings))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_build_killed_ten_times_ends_in_a_passing_repository_and_asks_nothing_twice(
    treadle: Commands, proxy: CountingProxy, sandboxed: None
) -> None:
    treadle.env |= {"TREADLE_OPENAI_BASE_URL": proxy.url, "NO_COLOR": "1"}
    choice = random.Random(20261121)
    arguments = ["build", GOAL, "--out", "made", "--provider", "openai", "--model", "coder", "--check", CHECK]
    kills = 0
    process = treadle.start(*arguments)
    while kills < KILLS:
        # The first kill comes once there is a run to lose; the others anywhere, start-up included.
        if kills == 0:
            until(process, "run      ")
        time.sleep(choice.uniform(0.05, 1.6))
        if process.poll() is not None:
            break  # it was quicker than the kills; what was killed must still hold
        process.kill()
        process.wait()
        kills += 1
        shutil.rmtree(treadle.folder / ".treadle" / "work", ignore_errors=True)
        process = treadle.start("resume")
    process.communicate(timeout=300)
    print(f"killed {kills} times; {len(proxy.asked)} questions reached the model")
    assert kills >= 3, "the build ended before it could be killed"

    done = treadle("status", "--json").json
    assert done["status"] == "done", treadle("debug").out
    check_repository(treadle.folder / "made")
    replies = [event for event in treadle.events() if event["type"] == "ModelReplied"]
    asked = {name for _, name in proxy.asked}
    assert len({(event["activation"], event["step"]) for event in replies}) == len(replies)
    for event in replies:
        question = name_of(from_plain(event["payload"]["request"]))
        assert question in asked
        assert [at for at, name in proxy.asked if name == question and at > event["at"]] == [], "asked again"


CHECK = """python -c "
import glob, importlib, inspect
modules = [importlib.import_module(name[:-3]) for name in glob.glob('*.py') if not name.startswith('test_')]
functions = [f for m in modules for _, f in inspect.getmembers(m, inspect.isfunction) if f.__module__ == m.__name__]
assert any(f(2, 3) == 5 and f(-1, 1) == 0 for f in functions)
" """


def check_repository(folder: Path) -> None:
    log = subprocess.run(["git", "-C", str(folder), "log", "--oneline"], capture_output=True, text=True, check=True)
    assert log.stdout.strip()
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
