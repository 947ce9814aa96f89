"""Answers that are kept in a folder."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from asked import REQUEST, SlowModel

from treadle.domain.messages import Usage
from treadle.errors import ModelUnavailable
from treadle.models.adapters.scripted import ScriptedModel
from treadle.models.wrappers.cached import Cached


async def test_the_same_request_is_asked_once_and_then_costs_nothing(tmp_path: Path) -> None:
    inner, pieces = ScriptedModel(["one", "two"]), list[str]()
    first = await Cached(inner, tmp_path).reply(REQUEST)
    again = await Cached(inner, tmp_path).reply(REQUEST, on_delta=pieces.append)
    assert (first.text, again.text, "".join(pieces)) == ("one", "one", "one")
    assert first.usage.total > 0
    assert (again.usage, again.seconds, again.cost) == (Usage(), 0.0, 0.0)
    assert len(inner.requests) == 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"temperature": 0.1}, {"model": "n"}, {"max_tokens": 5}])
async def test_another_request_is_another_question(tmp_path: Path, change: dict[str, object]) -> None:
    model = Cached(ScriptedModel(["one", "two"]), tmp_path)
    await model.reply(REQUEST)
    assert (await model.reply(replace(REQUEST, **change))).text == "two"


async def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    model = Cached(ScriptedModel([ModelUnavailable("gone"), "here"]), tmp_path)
    with pytest.raises(ModelUnavailable):
        await model.reply(REQUEST)
    assert (await model.reply(REQUEST)).text == "here"


async def test_a_damaged_file_is_as_good_as_none_and_is_replaced(tmp_path: Path) -> None:
    model = Cached(ScriptedModel(["one", "two"]), tmp_path)
    await model.reply(REQUEST)
    (place,) = tmp_path.rglob("*.json")
    place.write_bytes(place.read_bytes()[:-10])
    assert (await model.reply(REQUEST)).text == "two"
    assert (await model.reply(REQUEST)).text == "two"


async def test_a_folder_that_cannot_be_written_only_means_no_cache(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    model = Cached(ScriptedModel(["one", "two"]), taken)
    assert [(await model.reply(REQUEST)).text for _ in range(2)] == ["one", "two"]


async def test_nobody_else_may_read_what_was_answered(tmp_path: Path) -> None:
    await Cached(ScriptedModel(["one"]), tmp_path / "answers").reply(REQUEST)
    assert all(place.stat().st_mode & 0o077 == 0 for place in tmp_path.rglob("*.json"))


_WRITER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from treadle.domain.messages import Message, ModelReply, ModelRequest
from treadle.models.adapters.scripted import ScriptedModel
from treadle.models.wrappers.cached import Cached

async def main():
    for seed in range(200):
        text = f"{seed} " + "x" * 20_000
        model = Cached(ScriptedModel(lambda request: text), Path(sys.argv[1]))
        reply = await model.reply(ModelRequest("m", (Message("user", "hello"),), seed=seed))
        assert reply.text == text, reply.text[:20]

asyncio.run(main())
"""


async def test_processes_share_a_folder_without_ever_seeing_half_an_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    running = [await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    assert len([*tmp_path.rglob("*.json")]) == 200
    assert not [place for place in tmp_path.rglob(".*") if place.is_file()]


async def test_closing_closes_what_is_inside(tmp_path: Path) -> None:
    inner = SlowModel()
    await Cached(inner, tmp_path).close()
    assert inner.closed == 1
