"""Plans are no larger than their goals, and always such that they can be carried out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agents.fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.decomposer import MOST_TASKS, Decomposer, in_order, read_answer
from treadle.agents.prompt import Prompts
from treadle.domain.plan import Analysis, Plan, PlannedTask, check_tasks, waves
from treadle.models.adapters.scripted import ScriptedModel

SAAS = "Build a price-tracking SaaS"


async def decompose(analysis: Analysis, *answers: Any) -> Plan:
    model = ScriptedModel([json.dumps(answer) for answer in answers])
    plan = await Decomposer(Asker(FakeContext(), model, "m"), Prompts.load()).decompose(analysis)
    assert len(model.requests) == len(answers)
    check_tasks(plan.tasks)
    return plan


def task(file: str, kind: str = "module", needs: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {"file": file, "kind": kind, "does": f"Prices, in {file}", "needs": list(needs), "done": [], **more}


async def test_small_goal_stays_one_task_that_may_write_anywhere() -> None:
    plan = await decompose(Analysis("slug.py with slugify(text)", intent="slug.py with slugify(text)"))
    assert [(t.id, t.kind, t.files, dict(t.brief)) for t in plan.tasks] == [("t1", "module", (), {})]


async def test_files_of_the_goal_become_tasks_that_follow_what_they_use() -> None:
    goal = "cli.py is a command line program that uses storage.py. storage.py keeps items. The rest is in report.py."
    plan = await decompose(Analysis(goal))
    assert [(t.files[0], t.kind, t.needs) for t in plan.tasks] == [
        ("storage.py", "module", ()),
        ("cli.py", "program", ("t1",)),
        ("report.py", "module", ()),
    ]
    assert plan.tasks[0].brief == {"goal": "storage.py keeps items.", "part_of": goal}
    assert plan.tasks[1].files == ("cli.py", "test_cli.py")
    assert "3 parts" in plan.assumptions[-1]


async def test_what_is_used_by_another_comes_first() -> None:
    plan = await decompose(Analysis("b.py has g(x). a.py has f(x) and is used by b.py."))
    assert [(t.files[0], t.needs) for t in plan.tasks] == [("a.py", ()), ("b.py", ("t1",))]


async def test_service_with_command_line_and_docs_is_three_tasks_in_a_row() -> None:
    plan = await decompose(Analysis("a service with an HTTP API for prices, a CLI to add products, and docs"))
    assert [(t.kind, t.specialist, t.needs) for t in plan.tasks] == [
        ("service", "code_general", ()),
        ("program", "code_general", ("t1",)),
        ("document", "documentation", ("t1", "t2")),
    ]


async def test_model_takes_a_large_goal_apart_and_its_answer_is_repaired() -> None:
    listed = [
        task("web_api.py", "service", ("Store.py", "nothing.py", "web_api.py")),
        task("store.py"),
        task("store.py"),
        task("test_store.py"),
        task("config.py"),
        task("Dockerfile"),
        task("guide.md", "module", done=["It tells how to begin"]),
        task("json.py"),
        {"file": "empty.py", "does": " "},
        "nonsense",
    ]
    plan = await decompose(Analysis(SAAS), {"tasks": listed})
    assert [(t.files[0], t.kind, t.needs) for t in plan.tasks] == [
        ("store.py", "module", ()),
        ("json_tool.py", "module", ()),
        ("web_api.py", "service", ("t1", "t2")),
        ("guide.md", "document", ("t1", "t2", "t3")),
    ]


@pytest.mark.parametrize("answer", [[1], {"tasks": []}, {"tasks": [task("one.py")]}, {"tasks": "x"}, {"tasks": [[1]]}])
async def test_answer_without_several_files_leaves_one_task(answer: Any) -> None:
    plan = await decompose(Analysis(SAAS, intent="Track prices"), answer)
    assert [t.title for t in plan.tasks] == ["Track prices"]


async def test_answer_about_something_else_leaves_one_task() -> None:
    listed = [task("shop.py", does="Sells cars"), task("page.html", does="Shows cars"), task("prices.py")]
    assert len((await decompose(Analysis(SAAS), {"tasks": listed})).tasks) == 1


async def test_same_thing_under_several_names_is_one() -> None:
    listed = [task(file, does="Tracks prices") for file in ("a.py", "b.py", "c.py")]
    assert len((await decompose(Analysis(SAAS), {"tasks": listed})).tasks) == 1


async def test_what_others_use_is_no_program() -> None:
    listed = [task("store.py", "program"), task("main.py", "program", ("store.py",))]
    plan = await decompose(Analysis(SAAS, assumptions=("SQLite is used",)), {"tasks": listed})
    assert [t.kind for t in plan.tasks] == ["module", "program"]


async def test_vague_goal_is_not_taken_apart() -> None:
    plan = await decompose(Analysis(SAAS, questions=("What?",)))
    assert len(plan.tasks) == 1 and plan.questions == ("What?",)


def test_tasks_that_wait_for_each_other_are_put_in_an_order() -> None:
    tasks = [PlannedTask(str(n), f"task {n}") for n in range(3)]
    ordered = in_order(tasks, [{2}, {0}, {1}])
    assert [(t.title, t.needs) for t in ordered] == [("task 0", ()), ("task 1", ("t1",)), ("task 2", ("t2",))]


_items = st.fixed_dictionaries(
    {
        "file": st.sampled_from(
            ["a.py", "b.py", "c.py", "d.html", "e.md", "../x.py", "/etc/x.py", "f", "g.py", "h.py"]
        ),
        "kind": st.sampled_from(["module", "program", "service", "page", "document", "change", "odd"]),
        "does": st.text(max_size=20),
        "needs": st.lists(st.sampled_from(["a.py", "b.py", "c.py", "d.html", "z.py"]), max_size=4),
        "done": st.lists(st.text(max_size=10), max_size=2),
    }
)


@given(st.lists(_items, max_size=12))
def test_no_answer_makes_a_plan_that_cannot_be_carried_out(items: list[dict[str, Any]]) -> None:
    pieces, needs = read_answer({"tasks": items}, "a goal")
    assert len(pieces) <= MOST_TASKS
    tasks = [PlannedTask(str(n), piece.said[0], piece.kind, files=piece.files) for n, piece in enumerate(pieces)]
    ordered = in_order(tasks, needs)
    assert sorted(t.title for t in ordered) == sorted(t.title for t in tasks)
    if ordered:
        assert sum(map(len, waves(ordered))) == len(ordered)
