"""Lines lead to tasks: by the commits alone, and further where the run's log is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import pytest

from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.errors import NotFound, UsageError
from treadle.graph.build import Graph
from treadle.services.provenance import Provenance, place_of
from treadle.stores.memory import MemoryStore
from treadle.workspace import CommitNote, History, NewRepository, Published, Workspace, merge, provenance_trailers
from treadle.workspace.git import Git

RUN = "run-1"


class _State(TypedDict, total=False):
    plan: dict[str, Any]
    report: dict[str, Any]


async def make(folder: Path) -> tuple[Workspace, Published]:
    """A repository with two tasks that changed one file."""
    workspace = await Workspace.open(folder / ".treadle", RUN)
    history, empty = History(workspace.snapshots, RUN), await workspace.empty()
    start, made = await history.begin(empty), []
    first = "one = 1\n\n\n"
    for task, text in (("t1", first), ("t2", "two = 2\n")):
        said = provenance_trailers(
            task=task, models=["m"], prompts="fix@aa, write@bb", tokens=12, cost=0.5, review="accept"
        )
        tree = await workspace.write(empty, {f"{task}.py": text})
        made.append(await history.commit(tree, CommitNote(RUN, f"Add {task}", "", said), [start], branch=task))
    done = await merge(workspace.snapshots, made[0], made[1], RUN)
    note = CommitNote(RUN, "Merge t2", "", provenance_trailers(task="t2") | {"Treadle-Merge": "git"})
    tip = await history.commit(done.tree, note, made)
    return workspace, await NewRepository(folder / "out", workspace.snapshots).publish(tip, RUN)


async def remember(store: MemoryStore, report: dict[str, Any]) -> None:
    """Run something that leaves a plan and a report in the log, as a build does."""

    async def work(state: _State) -> _State:
        tasks = [{"id": "t1", "title": "The first"}, {"id": "t2", "title": "The second"}]
        done = [{"id": "t2", "review": {"verdict": "accept", "doubts": ["No docstring."]}}]
        return {"plan": {"tasks": tasks}, "report": {**report, "tasks": done}}

    graph = Graph("g", state=_State).add_node("work", work).set_entry_point("work").set_finish_point("work")
    async with Orchestrator(store) as orchestrator:
        await orchestrator.execute(graph, {}, options=RunOptions(run_id=RUN, labels={"goal": "Two numbers"}))


async def commit(folder: Path, text: str) -> None:
    (folder / "t1.py").write_text(text)
    identity = {f"GIT_{role}_{what}": "ann" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    await Git(cwd=folder).run("commit", "-qam", "By hand", env=identity)


async def test_commits_alone_name_task_model_prompts_review_and_cost(tmp_path: Path) -> None:
    await make(tmp_path)
    (blame,) = await Provenance(None).blame(tmp_path / "out" / "t2.py", 1, 1)
    by = blame.by
    assert by is not None and (by.run, by.task, by.model, by.review) == (RUN, "t2", "m", "accept")
    assert (by.title, by.prompts, by.tokens, by.cost, by.from_log) == ("Add t2", ("fix@aa", "write@bb"), 12, 0.5, False)
    assert (blame.lines, blame.first, blame.last) == (("two = 2",), 1, 1)


async def test_the_log_tells_what_the_task_was_to_do_and_what_its_reviewer_said(tmp_path: Path) -> None:
    await make(tmp_path)
    store = MemoryStore()
    await remember(store, {})
    (blame,) = await Provenance(store).blame(tmp_path / "out" / "t2.py", 1, 1)
    by = blame.by
    assert by is not None and (by.title, by.goal, by.said) == ("The second", "Two numbers", ("No docstring.",))
    assert by.from_log and by.model == "m"


async def test_lines_by_hand_and_lines_of_no_commit_are_told_apart(tmp_path: Path) -> None:
    await make(tmp_path)
    out = tmp_path / "out"
    await commit(out, "one = 1\n\n\nhand = 2\n")
    (out / "t1.py").write_text("one = 1\n\n\nhand = 2\nnew = 3\n")
    blames = await Provenance(None).blame(out / "t1.py", 1, 5)
    assert [(b.first, b.last, b.by.task if b.by else None, bool(b.commit)) for b in blames] == [
        (1, 3, "t1", True),
        (4, 4, None, True),
        (5, 5, None, False),
    ]
    assert blames[1].author == "ann"
    assert len(await Provenance(None).blame(out / "t1.py", 1, 4, rev="HEAD")) == 2


async def test_what_cannot_be_looked_at_says_why(tmp_path: Path) -> None:
    await make(tmp_path)
    out = tmp_path / "out"
    (out / "new.py").write_text("x\n")
    cases = [
        (out / "t2.py", 9, "", "has no line 9; it has 1"),
        (out / "new.py", 1, "", "git does not know"),
        (out / "nothing" / "x.py", 1, "", "git does not know"),
        (out / "t2.py", 1, "nowhere", "no revision 'nowhere'"),
        (tmp_path / "x.py", 1, "", "in no git repository"),
    ]
    for place, line, rev, reason in cases:
        with pytest.raises(UsageError, match=reason):
            await Provenance(None).blame(place, line, line, rev)


async def test_products_are_the_commits_of_a_run_with_their_files(tmp_path: Path) -> None:
    _, published = await make(tmp_path)
    await commit(tmp_path / "out", "by hand\n")
    store = MemoryStore()
    await remember(store, {"commit": published.commit, "place": published.place, "branch": published.branch})
    found = await Provenance(store).products(RUN)
    assert (found.place, found.branch) == (str(tmp_path / "out"), "main")
    assert [(one.by.task, one.by.title, one.files) for one in found.commits] == [
        ("t1", "The first", ("t1.py",)),
        ("t2", "The second", ("t2.py",)),
        ("t2", "The second", ()),
    ]


async def test_before_the_hand_over_products_lie_among_the_snapshots(tmp_path: Path) -> None:
    workspace, _ = await make(tmp_path)
    found = await Provenance(None).products(RUN, workspace.snapshots.git)
    assert {one.by.task: one.files for one in found.commits} == {"t1": ("t1.py",), "t2": ("t2.py",)}
    with pytest.raises(NotFound, match="No commit of run"):
        await Provenance(None).products("other", workspace.snapshots.git)


@pytest.mark.parametrize("text", ["x.py", "x.py:", "x.py:a", "x.py:0", ":3", "x.py:5-3", "x.py:1-99999", "x.py:-2"])
def test_places_out_of_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        place_of(text)
    assert place_of("a:b/x.py:2-3") == (Path("a:b/x.py"), 2, 3)
