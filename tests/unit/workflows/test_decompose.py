"""The decompose graph alone on the engine: from a goal to a plan, with what it asked and assumed in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from treadle.agents.decomposer import MOST_TASKS
from treadle.domain.events import LogWritten
from treadle.domain.plan import Plan, PlannedTask
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.errors import RunFailed, TreadleError
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.adapters.scripted import ScriptedModel
from treadle.models.files import pull
from treadle.models.hosts import host
from treadle.ports.model import Model
from treadle.settings import ModelSettings, load_settings
from treadle.stores.memory import MemoryStore
from treadle.workflows.crew import CrewTier
from treadle.workflows.decompose import Planner, decompose_graph

PARTS = [
    {"file": "api.py", "kind": "service", "does": "Offers prices over HTTP", "needs": ["prices.py"], "done": []},
    {"file": "prices.py", "kind": "module", "does": "Keeps prices in SQLite", "needs": [], "done": ["It keeps them"]},
]


async def plan(model: Model, start: dict[str, Any], **planner: Any) -> tuple[dict[str, Any], list[str]]:
    store = MemoryStore()
    async with Orchestrator(store) as orchestrator:
        graph = decompose_graph(Planner(CrewTier(model, planner.pop("named", "m")), **planner))
        state = dict(await orchestrator.execute(graph, start, options=RunOptions(run_id="r1")))
    return state, [e.payload.message for e in await store.events("r1") if isinstance(e.payload, LogWritten)]


def scripted(answers: Iterable[Any]) -> ScriptedModel:
    return ScriptedModel([json.dumps(answer) for answer in answers])


async def test_small_goal_becomes_a_plan_of_one_task_and_costs_no_token() -> None:
    state, log = await plan(scripted([]), {"goal": "slug.py with slugify(text)", "check": "make test"})
    found = Plan.of(state["plan"])
    assert [(task.id, task.kind, task.complexity) for task in found.tasks] == [("t1", "module", "simple")]
    assert found.done == ("the check `make test` passes",)
    assert state["tokens"] == 0
    assert log == ["t1: slug.py with slugify(text) (simple: module, one function)"]


async def test_large_goal_is_decided_taken_apart_and_estimated() -> None:
    decided = {"open": [{"question": "Where are prices kept?", "decision": "SQLite is used"}]}
    rated = {"tasks": [{"id": "t1", "why": "a table", "complexity": "simple"}]}
    model = scripted([decided, {"tasks": PARTS}, rated])
    state, log = await plan(model, {"goal": "Build a price-tracking SaaS"})
    found = Plan.of(state["plan"])
    assert [(task.files[0], task.needs) for task in found.tasks] == [("prices.py", ()), ("api.py", ("t1",))]
    assert "Assumed: SQLite is used." in log
    assert "Decided already:\n- SQLite is used" in model.requests[1].messages[-1].content
    assert state["tokens"] > 0 and state["models"] == ["m"]
    assert all(task.estimate.tokens for task in found.tasks)


async def test_given_plan_keeps_its_tasks() -> None:
    given = Plan("a goal", tasks=(PlannedTask("a", "f(x) doubles"), PlannedTask("b", "g(x) halves", needs=("a",))))
    state, _ = await plan(scripted([]), {"goal": "a goal", "plan": given.plain()})
    found = Plan.of(state["plan"])
    assert [(task.id, task.needs) for task in found.tasks] == [("a", ()), ("b", ("a",))]
    assert all(task.why and task.estimate.seconds for task in found.tasks)


async def test_given_plan_that_goes_in_a_circle_is_refused() -> None:
    tasks = (PlannedTask("a", "x", needs=("b",)), PlannedTask("b", "y", needs=("a",)))
    with pytest.raises(RunFailed, match="wait for each other"):
        await plan(scripted([]), {"goal": "g", "plan": Plan("g", tasks=tasks).plain()})


async def test_files_that_are_there_make_it_a_change() -> None:
    state, _ = await plan(scripted([]), {"goal": "add a flag --json to the list command"}, files=("a.py",))
    assert Plan.of(state["plan"]).tasks[0].kind == "change"


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_small_real_model_never_stops_a_plan(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    try:
        file = (await pull.pull("qwen2.5-coder:0.5b", load_settings(Path.cwd()).model)).path
    except TreadleError as error:
        pytest.skip(f"the small model cannot be had: {error}")
    settings = ModelSettings("qwen2.5-coder:0.5b", cache_dir=file.parent, runtime_dir=tmp_path, context=4096)
    model = EmbeddedModel(settings)
    try:
        state, log = await plan(model, {"goal": "Build a price-tracking SaaS"}, named="qwen2.5-coder:0.5b")
    finally:
        await model.close()
        await host.unload(settings)
    found = Plan.of(state["plan"])
    assert 1 <= len(found.tasks) <= MOST_TASKS
    assert state["tokens"] > 0 and log
