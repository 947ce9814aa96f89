"""The commits of a run: the same from the same, one for each task, and handed over with their order."""

from __future__ import annotations

from pathlib import Path

import pytest
from gitcalls import git

from treadle.errors import NotFound
from treadle.workspace import (
    CommitNote,
    History,
    NewRepository,
    RepositoryBranch,
    Workspace,
    merge,
    open_repository,
    provenance_trailers,
)

RUN = "run-1"


def note(task: str, when: int = 1_700_000_000) -> CommitNote:
    said = provenance_trailers(
        task=task, models=["m"], prompts="abc", tokens=12, cost=0.0, review="accepted" if task == "t1" else ""
    )
    return CommitNote(RUN, f"Add {task}", f"What {task} does.", said, when)


async def two_tasks(workspace: Workspace, base: str) -> str:
    """Two tasks side by side from `base`, merged; returns the last commit."""
    history = History(workspace.snapshots, RUN)
    start = await history.begin(base)
    made = []
    for task in ("t1", "t2"):
        tree = await workspace.write(base, {f"{task}.py": f"{task}\n"})
        made.append(await history.commit(tree, note(task), [start], branch=task))
    done = await merge(workspace.snapshots, made[0], made[1], RUN)
    return await history.commit(done.tree, note("merge"), made)


def subjects(folder: Path, *revisions: str) -> list[str]:
    """Subjects of the commits, newest first, each with the number of its parents."""
    lines = git(folder, "log", "--topo-order", "--format=%s%x00%p", *revisions).splitlines()
    return [f"{subject} ({len(parents.split())})" for subject, parents in (line.split("\0") for line in lines)]


async def test_the_same_tree_note_and_parents_make_the_same_commit(workspace: Workspace) -> None:
    empty = await workspace.empty()
    assert await two_tasks(workspace, empty) == await two_tasks(workspace, empty)
    other = await History(workspace.snapshots, RUN).one(empty, empty, note("t1", when=1))
    assert other != await History(workspace.snapshots, RUN).one(empty, empty, note("t1", when=2))


async def test_branches_can_be_read_and_go_with_the_run(workspace: Workspace) -> None:
    tip = await two_tasks(workspace, await workspace.empty())
    store = workspace.snapshots
    await store.git.run("prune", "--expire=now")
    assert await store.git.text("log", "-1", "--format=%s", "treadle/run-1/t1") == "Add t1"
    log = await History(store, RUN).log(tip)
    assert [recorded.message.splitlines()[0] for recorded in log] == ["Start", "Add t1", "Add t2", "Add merge"]
    assert await History(store, RUN).contains(tip, log[0].commit)
    assert not await History(store, RUN).contains(log[0].commit, tip)
    await store.forget(RUN)
    assert await store.git.text("for-each-ref") == ""
    with pytest.raises(NotFound):
        await History(store, RUN).log("treadle/run-1/t1")


async def test_odd_names_of_tasks_become_branches(workspace: Workspace) -> None:
    history = History(workspace.snapshots, RUN)
    for name in ("../x", "a b:c", "a-b-c", "-", "x.lock", "ä" * 99):
        await history.commit(await workspace.empty(), note("t1"), branch=name)
    assert len((await workspace.snapshots.git.text("for-each-ref", "refs/heads/")).splitlines()) == 6


async def test_a_new_repository_has_a_commit_for_each_task_and_the_merge(workspace: Workspace, tmp_path: Path) -> None:
    tip = await two_tasks(workspace, await workspace.empty())
    out = tmp_path / "out"
    publisher = NewRepository(out, workspace.snapshots)
    published = await publisher.publish(tip, RUN)
    assert subjects(out) == ["Add merge (2)", "Add t2 (1)", "Add t1 (1)", "Start (0)"]
    assert git(out, "status", "--porcelain") == "" and git(out, "fsck", "--full") == ""
    assert git(out, "log", "-1", "--format=%(trailers:key=Treadle-Review,valueonly)", "HEAD^1") == "accepted"
    assert {line for line in git(out, "log", "--format=%ct").splitlines()} == {"1700000000"}
    assert sorted(path.name for path in out.glob("*.py")) == ["t1.py", "t2.py"]
    assert await publisher.publish(tip, RUN) == published


async def test_one_task_gives_exactly_one_commit(workspace: Workspace, tmp_path: Path) -> None:
    empty = await workspace.empty()
    tip = await History(workspace.snapshots, RUN).one(empty, await workspace.write(empty, {"a": "a\n"}), note("t1"))
    await NewRepository(tmp_path / "out", workspace.snapshots).publish(tip, RUN)
    assert subjects(tmp_path / "out") == ["Add t1 (0)"]


async def test_a_first_task_that_all_others_need_is_the_first_commit(workspace: Workspace, tmp_path: Path) -> None:
    history, empty = History(workspace.snapshots, RUN), await workspace.empty()
    first = await history.one(empty, await workspace.write(empty, {"a": "a\n"}), note("t1"))
    base = await history.tree(first)
    sides = [
        await history.commit(await workspace.write(base, {name: "x\n"}), note(name), [first]) for name in ("t2", "t3")
    ]
    done = await merge(workspace.snapshots, sides[0], sides[1], RUN)
    tip = await history.commit(done.tree, note("merge"), sides)
    await NewRepository(tmp_path / "out", workspace.snapshots).publish(tip, RUN)
    assert subjects(tmp_path / "out") == ["Add merge (2)", "Add t3 (1)", "Add t2 (1)", "Add t1 (0)"]


async def test_a_branch_carries_the_history_on_top_of_the_commit_it_began_from(
    workspace: Workspace, repo: Path
) -> None:
    publisher = RepositoryBranch(await open_repository(repo), workspace.snapshots, RUN)
    tip = await two_tasks(workspace, await publisher.base_tree())
    head = git(repo, "rev-parse", "HEAD")
    published = await publisher.publish(tip, RUN)
    assert git(repo, "rev-list", "--count", f"{head}..treadle/{RUN}") == "3"
    assert git(repo, "merge-base", head, published.commit) == head == git(repo, "rev-parse", "HEAD")
    assert git(repo, "diff", "--name-only", head, published.commit).split() == ["t1.py", "t2.py"]
    assert git(repo, "fsck", "--full", "--connectivity-only") == ""
    assert await publisher.publish(tip, RUN) == published


async def test_tasks_of_one_run_have_folders_of_their_own(workspace: Workspace) -> None:
    empty = await workspace.empty()
    one, two = await workspace.of_task("t1"), await workspace.of_task("t2")
    trees = [await task.write(empty, {"same.py": task.task}) for task in (one, two, workspace)]
    assert len(set(trees)) == 3
    assert [(task.folder / "same.py").read_text() for task in (one, two, workspace)] == ["t1", "t2", ""]
    await one.remove()
    await one.remove()
    assert not one.folder.exists() and (two.folder / "same.py").exists()
    assert await workspace.read(trees[0], "same.py") == "t1"
    assert (await (await workspace.of_task("t1")).write(trees[0], {"b": "b"})) and (one.folder / "same.py").exists()
