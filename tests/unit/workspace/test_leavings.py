"""What runs left behind is deleted with them, and nothing of others."""

from __future__ import annotations

from pathlib import Path

from treadle.workspace import SNAPSHOTS, Snapshots, Workspace, collect_garbage, remove_leavings


async def test_folders_and_snapshots_of_a_run_go_and_those_of_others_stay(tmp_path: Path) -> None:
    trees = {}
    for run_id in ("one", "one.more", "two"):
        workspace = await Workspace.open(tmp_path, run_id)
        room = await workspace.of_task("t1")
        trees[run_id] = await room.write(await workspace.empty(), {"a.py": f"name = {run_id!r}\n"})
    await remove_leavings(tmp_path, ["one"], kept={"one.more", "two"})
    left = sorted(folder.name for folder in (tmp_path / "work").iterdir())
    assert left == ["one.more", "one.more.t1", "two", "two.t1"]
    snapshots = Snapshots(tmp_path / SNAPSHOTS)
    refs = await snapshots.git.text("for-each-ref", "--format=%(objectname)")
    assert sorted(refs.split()) == sorted([trees["one.more"], trees["two"]])
    await collect_garbage(tmp_path)
    assert await snapshots.read(trees["two"], "a.py") == "name = 'two'\n"
    await remove_leavings(tmp_path, ["one"])


async def test_where_no_build_was_there_is_nothing_to_do(tmp_path: Path) -> None:
    await remove_leavings(tmp_path, ["one"])
    await collect_garbage(tmp_path)
    assert list(tmp_path.iterdir()) == []
