"""An agent of a program: its threads are runs, go on in another process, and are bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hands import append, call, calls, done, sandbox_over

from treadle import PipelineBuilder
from treadle.agents import Pipeline
from treadle.domain.messages import ModelReply, ModelRequest
from treadle.domain.thread import UserMessage
from treadle.errors import Conflict, ModelUnavailable, NotFound, RunFailed, UnknownName, UsageError
from treadle.models.adapters.scripted import ScriptedModel


def builder(home: Path, model: ScriptedModel, *tools: Any, name: str = "coder") -> PipelineBuilder:
    made = PipelineBuilder(name).llm(model).preamble("You are careful.").tool(*tools)
    return made.store(f"sqlite:///{home / 'runs.db'}").home(home)


def echo(request: ModelRequest) -> ModelReply | str:
    return f"You said: {request.messages[-1].content}"


async def test_a_thread_goes_on_in_another_process(tmp_path: Path) -> None:
    model = ScriptedModel(echo)
    async with builder(tmp_path, model).build() as pipeline:
        assert (await pipeline.run("t", "one")).text == "You said: one"
    async with builder(tmp_path, model).preamble("Another one.").build() as pipeline:
        assert (await pipeline.run("t")).text == "You said: one"
        reply = await pipeline.run("t", "two")
        thread = await pipeline.thread("t")
    assert (reply.text, reply.reason) == ("You said: two", "answered")
    assert [message.content for message in model.requests[-1].messages] == [
        "You are careful.", "one", "You said: one", "two",
    ]  # fmt: skip
    assert len(model.requests) == 2
    assert [event.text for event in thread.events if isinstance(event, UserMessage)] == ["one", "two"]
    assert reply.tokens == thread.usage.total > 0


async def test_files_are_where_the_thread_left_them(tmp_path: Path) -> None:
    replies = [call("append", path="a", content="1"), call("done", message="One.")]
    more = [call("append", path="a", content="2"), call("done", message="Two.")]
    async with builder(tmp_path, ScriptedModel(replies), append(), done()).build() as pipeline:
        await pipeline.run("t", "Add one.")
    (tmp_path / "work" / "t" / "a").write_text("spoilt")
    async with builder(tmp_path, ScriptedModel(more), append(), done()).build() as pipeline:
        reply = await pipeline.run("t", "Add two.")
    assert reply.text == "Two."
    assert (tmp_path / "work" / "t" / "a").read_text() == "12"


async def test_a_thread_that_failed_goes_on_where_it_was_when_it_is_run_again(tmp_path: Path) -> None:
    model = ScriptedModel(
        [call("append", path="a", content="1"), ModelUnavailable("gone"), call("done", message="Ok.")]
    )
    async with builder(tmp_path, model, append(), done()).build() as pipeline:
        with pytest.raises(RunFailed, match="gone"):
            await pipeline.run("t", "Add one.")
        with pytest.raises(RunFailed, match="gone"):
            await pipeline.run("t", "Something else.")
        assert (await pipeline.run("t")).text == "Ok."
    assert len(model.requests) == 3


async def test_a_call_waits_for_approval_in_whatever_process(tmp_path: Path) -> None:
    first = ScriptedModel([call("append", path="a", content="1")])
    async with builder(tmp_path, first, append(), done()).approve("append", "ask").build() as pipeline:
        asked = await pipeline.run("t", "Add one.")
    assert asked.approval is not None and asked.approval["arguments"] == {"path": "a", "content": "1"}
    assert asked.text == ""
    second = ScriptedModel([call("done", message="Added.")])
    async with builder(tmp_path, second, append(), done()).approve("append", "ask").build() as pipeline:
        assert (await pipeline.run("t")).approval == asked.approval
        with pytest.raises(UsageError, match="waits for an approval"):
            await pipeline.run("t", "Well?")
        assert (await pipeline.answer("t", True)).text == "Added."
        with pytest.raises(UsageError, match="waits for no approval"):
            await pipeline.answer("t", True)
    assert (tmp_path / "work" / "t" / "a").read_text() == "1"


async def test_a_folder_of_ones_own_is_worked_in_and_never_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kept").write_text("by me")
    model = ScriptedModel([calls(("append", {"path": "a", "content": "1"})), call("done", message="Ok.")])
    async with builder(tmp_path, model, append(), done()).sandbox(sandbox_over(folder)).build() as pipeline:
        reply = await pipeline.run("t", "Add one.")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "kept"]
    assert reply.tree == ""


async def test_threads_are_apart_and_may_run_at_once(tmp_path: Path) -> None:
    model = ScriptedModel(echo)
    async with builder(tmp_path, model).build() as pipeline:
        replies = await asyncio.gather(*(pipeline.run(f"t{number}", str(number)) for number in range(8)))
    assert [reply.text for reply in replies] == [f"You said: {number}" for number in range(8)]


async def test_limits_end_the_work_with_a_reason(tmp_path: Path) -> None:
    model = ScriptedModel(lambda request: call("append", path="a", content=str(len(request.messages))))
    async with builder(tmp_path, model, append(), done()).limits(max_steps=3).build() as pipeline:
        reply = await pipeline.run("t", "Go on and on.")
    assert (reply.reason, reply.detail) == ("steps", "3 answers")


async def test_a_budget_of_the_store_stops_a_thread(tmp_path: Path) -> None:
    model = ScriptedModel(echo)
    async with builder(tmp_path, model).budget(steps=1).build() as pipeline:
        await pipeline.run("t", "one")
        with pytest.raises(RunFailed, match="steps"):
            await pipeline.run("t", "two")
    assert len(model.requests) == 1


async def test_a_function_becomes_a_tool(tmp_path: Path) -> None:
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    model = ScriptedModel([call("double", number=21), call("done", message="It is 42.")])
    async with builder(tmp_path, model, double, "done").build() as pipeline:
        await pipeline.run("t", "Double 21.")
        thread = await pipeline.thread("t")
    assert thread.turns[0].responses["call_0_0"].text == "42"


async def test_without_a_store_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ScriptedModel([call("append", path="a", content="1"), call("done", message="Ok.")])
    async with PipelineBuilder().llm(model).tool(append(), done()).build() as pipeline:
        assert (await pipeline.run("t", "Add one.")).text == "Ok."
    assert list(tmp_path.iterdir()) == []


async def test_what_cannot_be_is_refused_with_what_to_do(tmp_path: Path) -> None:
    made = builder(tmp_path, ScriptedModel(echo), done())
    with pytest.raises(UnknownName, match="read_fil"):
        made.tool("read_fil")
    with pytest.raises(UsageError, match="'done' already"):
        made.tool("done")
    with pytest.raises(UnknownName, match="bash"):
        made.approve("bash", "ask")
    with pytest.raises(UnknownName, match="sometimes"):
        made.approve("done", "sometimes")  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="max_step"):
        made.limits(max_step=3)
    with pytest.raises(UsageError, match="no name"):
        made.tool(lambda x: x)
    with pytest.raises(UsageError, match="cannot be a pipeline's name"):
        PipelineBuilder("a b")
    pipeline: Pipeline
    async with made.build() as pipeline:
        with pytest.raises(UsageError, match="no message"):
            await pipeline.run("t")
        with pytest.raises(UsageError, match="cannot be a thread's id"):
            await pipeline.run("../t", "Hello.")
        with pytest.raises(NotFound):
            await pipeline.answer("t", True)
        with pytest.raises(NotFound):
            await pipeline.thread("t")
        await pipeline.run("t", "Hello.")
        await pipeline.orchestrator.cancel("t")
        with pytest.raises(Conflict, match="cancelled"):
            await pipeline.run("t", "Hello?")
    async with builder(tmp_path, ScriptedModel(echo), name="other").build() as pipeline:
        with pytest.raises(Conflict, match="no thread of the agent 'other'"):
            await pipeline.run("t", "Hello.")
