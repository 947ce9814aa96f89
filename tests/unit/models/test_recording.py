"""What a model answered is kept in a file, and given again from there."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from asked import REQUEST

from treadle.domain.messages import Image, Message, ModelReply, ToolCall, Usage
from treadle.errors import ConfigError, ModelError, ModelUnavailable
from treadle.models.adapters.script_file import Recording, ScriptFile
from treadle.models.adapters.scripted import ScriptedModel

CALL = ModelReply(
    "", "m-1", "tool_calls", Usage(5, 6), (ToolCall("c1", "look", {"at": [1, None]}),), "hm", 0.5, cost=0.25
)


async def test_what_was_recorded_is_given_again_whole(tmp_path: Path) -> None:
    place, seen = (
        tmp_path / "answers.jsonl",
        replace(REQUEST, messages=(Message("user", "?", images=(Image("i", b"1"),)),)),
    )
    recording = Recording(ScriptedModel(["text", CALL]), place)
    said = [await recording.reply(request) for request in (REQUEST, seen)]
    replayed = ScriptFile(place)
    assert [await replayed.reply(request) for request in (seen, REQUEST)] == [said[1], said[0]]
    assert said[1] == CALL


async def test_a_question_that_was_not_recorded_is_said(tmp_path: Path) -> None:
    await Recording(ScriptedModel(["text"]), tmp_path / "a").reply(REQUEST)
    with pytest.raises(ModelError, match="No rule of the script"):
        await ScriptFile(tmp_path / "a").reply(replace(REQUEST, seed=1))


async def test_the_first_answer_to_a_question_is_the_one_that_is_given_again(tmp_path: Path) -> None:
    recording = Recording(ScriptedModel([ModelUnavailable("gone"), "one", "two"]), tmp_path / "a")
    with pytest.raises(ModelUnavailable):
        await recording.reply(REQUEST)
    assert [(await recording.reply(REQUEST)).text for _ in range(2)] == ["one", "two"]
    assert [(await ScriptFile(tmp_path / "a").reply(REQUEST)).text for _ in range(2)] == ["one", "one"]


async def test_recordings_at_once_share_a_file(tmp_path: Path) -> None:
    recordings = [
        Recording(ScriptedModel(lambda request: f"answer {request.seed} " * 500), tmp_path / "a") for _ in "ab"
    ]
    asks = [replace(REQUEST, seed=seed) for seed in range(50)]
    await asyncio.gather(*(recordings[ask.seed % 2].reply(ask) for ask in asks))
    replayed = ScriptFile(tmp_path / "a")
    given = [(await replayed.reply(ask)).text for ask in asks]
    assert given == [f"answer {ask.seed} " * 500 for ask in asks]


async def test_rules_and_recordings_may_stand_in_one_file(tmp_path: Path) -> None:
    await Recording(ScriptedModel(["recorded"]), tmp_path / "a").reply(REQUEST)
    with (tmp_path / "a").open("a") as file:
        file.write(json.dumps({"when": "Bye", "reply": "by rule"}) + "\n")
    script = ScriptFile(tmp_path / "a")
    assert (await script.reply(REQUEST)).text == "recorded"
    assert (await script.reply(replace(REQUEST, messages=(Message("user", "Bye"),)))).text == "by rule"


@pytest.mark.parametrize("text", ["nonsense", '[{"when": "a"}]', '[{"reply": 5}]', '{"reply": "x", "wen": "y"}'])
def test_a_file_without_rules_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(ConfigError, match="cannot be read"):
        ScriptFile(tmp_path / "a")
