"""A goal of several parts: tasks side by side and one after another, merged into one proved repository."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from builds import build, fenced, make_crew

from treadle.domain.messages import ModelRequest
from treadle.domain.plan import Plan, PlannedTask
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.models.adapters.scripted import ScriptedModel
from treadle.sandboxes.choose import open_sandbox
from treadle.stores.memory import MemoryStore
from treadle.workflows import Crew, build_graph, debug_loop

CODE = {
    "area.py": "def area(width, height):\n    return width * height\n",
    "price.py": "def price(count, each):\n    return count * each\n",
    "quote.py": (
        "from area import area\nfrom price import price\n\n\n"
        "def quote(width, height, each):\n    return price(area(width, height), each)\n"
    ),
}
TESTS = {
    "area.py": "assert area(2, 3) == 6\nassert area(0, 3) == 0\n",
    "price.py": "assert price(2, 3) == 6\nassert price(0, 3) == 0\n",
    "quote.py": "assert quote(2, 3, 4) == 24\nassert quote(0, 3, 4) == 0\n",
}
PLAN = Plan(
    "a quote for tiles",
    tasks=(
        PlannedTask("t1", "area.py with area(width, height)", files=("area.py", "test_area.py")),
        PlannedTask("t2", "price.py with price(count, each)", files=("price.py", "test_price.py")),
        PlannedTask("t3", "quote.py with quote(width, height, each)", files=("quote.py",), needs=("t1", "t2")),
    ),
)


def author(request: ModelRequest) -> str:
    """Write the file that is asked for, or its tests."""
    text = request.messages[-1].content
    file = next(file for file in CODE if f"`{file}`" in text)
    return fenced((TESTS if "Write 6 asserts" in text else CODE)[file])


async def crew_of(tmp_path: Path, model: Any, **settings: Any) -> Crew:
    crew = await make_crew(tmp_path, model, **settings)
    return replace(crew, open_sandbox=lambda folder: open_sandbox(folder, backend="none"))


async def run(crew: Crew, **start: Any) -> dict[str, Any]:
    async with Orchestrator(MemoryStore()) as orchestrator:
        first = {"goal": PLAN.goal, "check": "", "plan": PLAN.plain(), **start}
        return dict(await orchestrator.execute(build_graph(crew), first, options=RunOptions(run_id="r1")))


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout


async def test_tasks_become_commits_that_are_merged_in_the_order_of_their_needs(tmp_path: Path) -> None:
    model = ScriptedModel(author)
    check = "python -c 'import quote; assert quote.quote(1, 2, 3) == 6'"
    began, state = int(time.time()), await run(await crew_of(tmp_path, model), check=check)
    report, out = state["report"], tmp_path / "out"
    assert (report["solved"], report["reason"]) == (True, "")
    assert [(task["id"], task["ok"]) for task in report["tasks"]] == [("t1", True), ("t2", True), ("t3", True)]
    assert {path.name for path in out.iterdir()} >= {*CODE, "test_area.py", "test_price.py", "test_quote.py"}
    assert git(out, "log", "--format=%(trailers:key=Treadle-Task,valueonly,separator=)").split().count("t3") == 1
    assert git(out, "log", "--merges", "--format=%s").startswith("Merge t2")
    times = [int(when) for when in git(out, "log", "--format=%ct").split()]
    assert began <= min(times) and max(times) <= time.time() and git(out, "status", "--porcelain") == ""
    kept = git(tmp_path / ".treadle" / "snapshots.git", "log", "--all", "--format=%ct %s").splitlines()
    assert [line for line in kept if line.startswith("0 ")] == ["0 Start"], "the store knows when each was made"
    assert "`from quote import quote`" in (out / "README.md").read_text()
    asked = [request.messages[-1].content for request in model.requests]
    assert any("These files are there already" in text and "def price(count, each)" in text for text in asked)


async def test_a_task_that_cannot_be_solved_ends_the_build_and_is_named(tmp_path: Path) -> None:
    def hopeless(request: ModelRequest) -> str:
        return "I cannot." if "price.py" in request.messages[-1].content else author(request)

    report = (await run(await crew_of(tmp_path, ScriptedModel(hopeless), max_rounds=1)))["report"]
    assert not report["solved"] and report["reason"].startswith("Task t2:")
    assert not (tmp_path / "out").exists()
    assert [task.get("ok") for task in report["tasks"]] == [True, False, None]


async def test_rooms_of_tasks_are_cleared_away(tmp_path: Path) -> None:
    await run(await crew_of(tmp_path, ScriptedModel(author)))
    assert [path.name for path in (tmp_path / ".treadle" / "work").iterdir()] == ["r1"]


async def test_a_goal_that_names_its_parts_is_built_in_parts_without_asking_how(tmp_path: Path) -> None:
    goal = "area.py with area(width, height), and price.py with price(count, each)"
    report = (await build(await crew_of(tmp_path, ScriptedModel(author)), goal))["report"]
    assert report["solved"] and len(report["tasks"]) == 2


async def test_the_debug_loop_works_alone(tmp_path: Path) -> None:
    crew = await crew_of(tmp_path, ScriptedModel(author))
    async with Orchestrator(MemoryStore()) as orchestrator:
        state = await orchestrator.execute(debug_loop(crew), {"goal": "area.py with area(width, height)"})
    (outcome,) = state["outcomes"]
    assert (outcome["ok"], outcome["files"], outcome["tests"]) == (True, ["area.py", "test_area.py"], 2)
