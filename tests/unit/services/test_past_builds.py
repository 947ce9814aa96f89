"""The past is read from the reports of builds, task by task."""

from __future__ import annotations

from typing import Any, TypedDict

from treadle.domain.experience import TaskOutcome
from treadle.domain.task import RunRow, RunStatus
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.graph.build import Graph
from treadle.services.experience import experience_of, outcomes_in
from treadle.stores.memory import MemoryStore


class Tokens(TypedDict, total=False):
    tokens: int
    report: dict[str, Any]


MADE = {"kind": "module", "complexity": "simple", "ok": True, "tokens": 300, "cost": 0.5, "tier": "tiny"}


def row() -> RunRow:
    return RunRow("r1", "build@1", RunStatus.DONE, 1, 1, "t", "p", 100.0, 140.0, labels={"kind": "build"})


def test_seconds_are_shared_out_by_tokens_and_what_was_not_begun_does_not_count() -> None:
    tasks = [MADE, {**MADE, "kind": "program", "ok": False, "tokens": 100, "began": "tiny", "tier": "small"}]
    report = {"tasks": [*tasks, {"kind": "module", "complexity": "simple"}]}
    found = list(outcomes_in(row(), report))
    assert found == [
        TaskOutcome("module", "simple", "tiny", True, 300, 30.0, 0.5),
        TaskOutcome("program", "simple", "small", False, 100, 10.0, 0.5, began="tiny"),
    ]
    assert list(outcomes_in(row(), {})) == []


async def test_only_builds_that_ended_are_read() -> None:
    store = MemoryStore()

    async def end(state: Tokens) -> dict[str, Any]:
        return {"report": {"tasks": [{**MADE, "tokens": state["tokens"]}]}}

    graph = Graph("build", state=Tokens)
    graph.add_node("commit", end).set_entry_point("commit").set_finish_point("commit")
    async with Orchestrator(store) as orchestrator:
        for number, kind in enumerate(("build", "plan", "build"), 1):
            options = RunOptions(run_id=f"r{number}", labels={"kind": kind})
            await orchestrator.execute(graph, {"tokens": number}, options=options)
    found = await experience_of(store)
    assert sorted(outcome.tokens for outcome in found.outcomes) == [1, 3]
    assert all(outcome.tier == "tiny" and outcome.solved for outcome in found.outcomes)
