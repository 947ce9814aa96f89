"""The fold that status, the live view and debug share."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import (
    Event,
    InterruptAnswered,
    InterruptRaised,
    LogWritten,
    ModelReplied,
    NodeFailed,
    NodeFinished,
    Payload,
    RunCancelled,
    RunErrored,
    RunStarted,
    TaskClaimed,
    TaskReleased,
    TaskRetried,
    ToolReturned,
)
from treadle.domain.task import RunStatus, TaskState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.graph.build import Graph
from treadle.graph.spec import Send
from treadle.services.runs import Narrator, log_line, outcome_of
from treadle.services.timeline import Timeline, node_of, usage_of
from treadle.stores.memory import MemoryStore


def event(seq: int, payload: Payload, activation: str | None = None, step: str | None = None) -> Event:
    return Event(seq, float(seq), "r", activation, type(payload).__name__, 1, "t", "p", payload, step)


def fold(*given: tuple[Payload, str | None]) -> Timeline:
    return Timeline.of(event(seq, payload, name) for seq, (payload, name) in enumerate(given, 1))


def test_a_task_that_was_handed_on_is_known_before_it_says_anything() -> None:
    timeline = fold((RunStarted(), None), (NodeFinished("a", next=("b",), seconds=0.5), "a"))
    assert [(t.activation, t.state) for t in timeline.tasks.values()] == [("a", TaskState.DONE), ("b", TaskState.READY)]
    assert timeline.tasks["b"].started_at == 2.0 and timeline.status is RunStatus.RUNNING


def test_tasks_are_called_after_their_node_and_its_later_ones_are_numbered() -> None:
    names = ["test", "test#2.1.1", "sub/edit", "test#3~0.1", "map[0]", "map[1]", "sub#2/edit#2"]
    timeline = fold((RunStarted(), None), *((TaskClaimed("w", 1, 1), name) for name in names))
    assert [task.name for task in timeline.tasks.values()] == [
        "test",
        "test#2",
        "sub/edit",
        "test#3",
        "map[0]",
        "map[1]",
        "sub#2/edit#2",
    ]
    assert [task.activation for task in timeline.named("test")] == ["test", "test#2.1.1", "test#3~0.1"]
    assert [task.activation for task in timeline.named("test#3")] == ["test#3~0.1"]
    assert [task.activation for task in timeline.named("test#2.1.1")] == ["test#2.1.1"]
    assert timeline.named("tset") == []


def test_the_log_calls_tasks_as_status_does_and_repeats_nothing() -> None:
    usage = msgspec.Raw(b'{"text": "x", "usage": {"input_tokens": 7, "output_tokens": 5}}')
    narrator = Narrator()
    narrator.past(event(1, TaskClaimed("w", 1, 1), "write"))
    said = [
        narrator.line(event(2, ModelReplied("model", "d", result=usage, seconds=1.0), "write#2.1", "write")),
        narrator.line(event(3, ModelReplied("model", "d", result=usage, seconds=1.0), "write#2.1", "again")),
        narrator.line(event(4, LogWritten("Next.", {"problem": "", "left": ["a"]}), "write#2.1")),
    ]
    assert [(line.task, line.text) for line in said if line] == [
        ("write#2", "model replied, 7 + 5 tokens in 1.0 s, 5 tokens/s"),
        ("write#2", "again: model replied, 7 + 5 tokens in 1.0 s, 5 tokens/s"),
        ("write#2", "Next. left=['a']"),
    ]


def test_tokens_are_counted_per_task_and_in_all() -> None:
    usage = msgspec.Raw(b'{"text": "x", "model": "m", "usage": {"input_tokens": 7, "output_tokens": 5}}')
    timeline = fold(
        (RunStarted(), None),
        (ModelReplied("model", "d", result=usage, seconds=1.0), "a"),
        (ModelReplied("model", "d", result=usage, seconds=1.0), "a"),
        (ToolReturned("tool", "d"), "a"),
    )
    task = timeline.tasks["a"]
    assert (task.input_tokens, task.output_tokens, task.model_calls, task.tool_calls, task.model) == (14, 10, 2, 1, "m")
    assert (timeline.input_tokens, timeline.output_tokens, timeline.model_seconds) == (14, 10, 2.0)


def test_failures_retries_and_the_end_of_a_run() -> None:
    timeline = fold(
        (RunStarted(), None),
        (TaskClaimed("w", 1, 1), "a"),
        (NodeFailed("a", "broke", "node_error", 1, retry_seconds=2.0), "a"),
        (TaskClaimed("w", 2, 2), "a"),
        (NodeFailed("a", "broke again", "node_error", 2), "a"),
        (RunErrored("Node 'a' failed", "node_error"), None),
    )
    task = timeline.tasks["a"]
    assert (task.state, task.attempt, task.failures, task.error) == (TaskState.FAILED, 2, 2, "broke again")
    assert timeline.status is RunStatus.ERROR and timeline.ended_at == 6.0
    timeline.apply(event(7, TaskRetried(), "a"))
    assert timeline.status is RunStatus.RUNNING and task.state is TaskState.READY and timeline.ended_at is None


def test_questions_and_given_back_tasks() -> None:
    timeline = fold(
        (RunStarted(), None),
        (InterruptRaised("interrupt:0", "ask"), "ask"),
    )
    assert timeline.tasks["ask"].state is TaskState.WAITING
    timeline.apply(event(3, InterruptAnswered("interrupt:0"), "ask"))
    timeline.apply(event(4, TaskReleased("released", 1), "ask"))
    assert timeline.tasks["ask"].state is TaskState.READY


def test_a_cancelled_run_leaves_no_task_going() -> None:
    timeline = fold((RunStarted(), None), (TaskClaimed("w", 1, 1), "a"), (RunCancelled("enough"), None))
    assert timeline.tasks["a"].state is TaskState.CANCELLED and timeline.error == "enough"


def test_recorded_values_are_read_without_their_types() -> None:
    raw = b'{"$t": "app.Reply@1", "v": {"when": {"$t": "tuple", "v": [1, 2]}, "usage": {"input_tokens": 1}}}'
    assert codec.bare(raw) == {"when": [1, 2], "usage": {"input_tokens": 1}}
    assert usage_of(codec.bare(raw)) == (1, 0) and usage_of("text") == (0, 0)


def test_activations_name_their_node() -> None:
    assert [node_of(name) for name in ("write", "write#2", "map[3]", "sub/edit#2")] == [
        "write",
        "write",
        "map",
        "sub/edit",
    ]


def test_tool_results_are_said_in_a_few_words() -> None:
    assert outcome_of("4b825dc642" + "0" * 30) == "tree 4b825dc642"
    assert outcome_of({"exit_code": 1, "timed_out": True}) == "exit code 1, timed out"
    assert outcome_of({"passed": ["a", "b"], "failed": {"c": "x"}}) == "1 failed, 2 passed"
    assert outcome_of({"broken": "no\nmodule", "passed": []}) == "no test could run: no module"
    assert (
        outcome_of({"commit": "a" * 40, "branch": "main", "place": "/x"}) == f"commit {'a' * 10} on branch main of /x"
    )


def test_bookkeeping_has_no_line_in_the_log() -> None:
    assert log_line(event(1, TaskClaimed("w", 1, 1), "a")) is None
    line = log_line(event(2, NodeFailed("a", "broke", "x", 1, retry_seconds=2.0), "a"))
    assert line is not None and (line.level, line.text) == ("bad", "failed, attempt 1: broke; again in 2.0 s")


async def test_tasks_of_a_plan_are_called_by_their_ids_and_what_is_left_is_told() -> None:
    async def plan(state: Any, ctx: Any) -> dict[str, Any]:
        return {"plan": {"tasks": [_planned("t1"), _planned("t2")]}}

    async def work(state: Any, ctx: Any) -> dict[str, Any]:
        return {"task": ctx.interrupt("which?")} if state["task"]["id"] == "t2" else {}

    inner = Graph("code", state={"task": None})
    inner.add_node("write", work).add_node("finish", lambda state: {})
    inner.set_entry_point("write").add_edge("write", "finish").set_finish_point("finish")
    graph = Graph("g", state={"plan": None})
    graph.add_node("plan", plan).add_node("code", inner).set_entry_point("plan")
    sends = [Send("code", {"task": _planned(id)}) for id in ("t1", "t2")]
    graph.add_conditional_edge("plan", lambda state: sends, ["code"]).set_finish_point("code")
    store = MemoryStore()
    async with Orchestrator(store) as orchestrator:
        await orchestrator.execute(graph, {}, options=RunOptions(run_id="r1"))
    timeline = Timeline.of(await store.events("r1"))
    assert {task.name for task in timeline.tasks.values()} >= {"plan", "t1/write", "t1/finish", "t2/write"}
    assert [task.name for task in timeline.named("t1")] == ["t1/write", "t1/finish"]
    assert {task.name for task in timeline.named("write")} == {"t1/write", "t2/write"}
    assert [planned.title for planned in timeline.planned.values()] == ["Do t1", "Do t2"]
    assert 29.0 < (timeline.left(0.0) or 0.0) <= 30.0  # t1 is done, t2 waits


def _planned(id: str) -> dict[str, Any]:
    return {"id": id, "title": f"Do {id}", "estimate": {"seconds": 30.0}}
