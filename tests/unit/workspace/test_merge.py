"""Merges are git's own three-way merges; what git cannot say is named, with both versions and what was before."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from treadle.errors import NotFound, Refused
from treadle.workspace import CommitNote, History, Merge, Workspace, merge, replaced
from treadle.workspace.merge import MARKER_SIZE

Files = dict[str, str | None]
BASE: Files = {"a.py": "".join(f"line {n}\n" for n in range(30)), "b.py": "B = 1\n", "lib/c.py": "C = 1\n" * 9}


async def commit(workspace: Workspace, files: Files, parent: str) -> str:
    history = History(workspace.snapshots, "run-1")
    tree = await workspace.write(await history.tree(parent), files)
    return await history.commit(tree, CommitNote("run-1", "Change"), [parent])


async def root(workspace: Workspace, files: Files | None = None) -> str:
    tree = await workspace.write(await workspace.empty(), BASE if files is None else files)
    return await History(workspace.snapshots, "run-1").begin(tree)


async def merged(workspace: Workspace, ours: Files, theirs: Files, base: Files | None = None) -> Merge:
    start = await root(workspace, base)
    sides = [await commit(workspace, ours, start), await commit(workspace, theirs, start)]
    return await merge(workspace.snapshots, sides[0], sides[1], "run-1")


def edited(number: int, text: str) -> str:
    return (BASE["a.py"] or "").replace(f"line {number}\n", text)


async def test_changes_of_different_lines_come_together(workspace: Workspace) -> None:
    done = await merged(workspace, {"a.py": edited(2, "ours\n"), "b.py": None}, {"a.py": edited(20, "theirs\n")})
    assert done.is_clean
    text = await workspace.read(done.tree, "a.py") or ""
    assert "ours\n" in text and "theirs\n" in text and "<<<" not in text
    assert await workspace.snapshots.files(done.tree) == ["a.py", "lib/c.py"]


async def test_a_change_follows_the_file_that_the_other_side_renamed(workspace: Workspace) -> None:
    done = await merged(workspace, {"a.py": None, "moved.py": BASE["a.py"]}, {"a.py": edited(20, "theirs\n")})
    assert done.is_clean and await workspace.snapshots.files(done.tree) == ["b.py", "lib/c.py", "moved.py"]
    assert "theirs\n" in (await workspace.read(done.tree, "moved.py") or "")


async def test_changes_of_the_same_lines_are_a_conflict_with_all_three_versions(workspace: Workspace) -> None:
    done = await merged(workspace, {"a.py": edited(2, "ours\n")}, {"a.py": edited(2, "theirs\n"), "b.py": "B = 2\n"})
    (conflict,) = done.conflicts
    assert (conflict.path, conflict.kind, conflict.base) == ("a.py", "content", BASE["a.py"])
    assert (conflict.ours, conflict.theirs) == (edited(2, "ours\n"), edited(2, "theirs\n"))
    assert f"line 2\n{'=' * MARKER_SIZE}\ntheirs\n{'>' * MARKER_SIZE} " in conflict.text
    assert await workspace.read(done.tree, "b.py") == "B = 2\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "kinds"),
    [
        ({"n.py": "1\n"}, {"n.py": "2\n"}, {"n.py": "add/add"}),
        ({"b.py": None}, {"b.py": "B = 3\n"}, {"b.py": "modify/delete"}),
        ({"b.py": "B = 3\n"}, {"b.py": None}, {"b.py": "modify/delete"}),
        ({"x.bin": "\0ours"}, {"x.bin": "\0theirs"}, {"x.bin": "binary"}),
        ({"b.py": "B\0ours"}, {"b.py": "B\0theirs"}, {"b.py": "binary"}),
    ],
)
async def test_every_conflict_says_its_kind(
    workspace: Workspace, ours: Files, theirs: Files, kinds: dict[str, str]
) -> None:
    done = await merged(workspace, ours, theirs)
    assert {conflict.path: conflict.kind for conflict in done.conflicts} == kinds
    assert all(conflict.said for conflict in done.conflicts)


async def test_a_file_that_both_sides_renamed_is_a_conflict(workspace: Workspace) -> None:
    done = await merged(workspace, {"a.py": None, "x.py": BASE["a.py"]}, {"a.py": None, "y.py": BASE["a.py"]})
    assert {conflict.kind for conflict in done.conflicts} == {"rename"}
    assert {"x.py", "y.py"} <= {conflict.path for conflict in done.conflicts}


async def test_a_file_in_place_of_the_others_folder_is_a_conflict(workspace: Workspace) -> None:
    done = await merged(workspace, {"new": "a file\n"}, {"new/inner.py": "I = 1\n"})
    assert [conflict.kind for conflict in done.conflicts] == ["rename"]


async def test_a_link_against_a_file_is_a_conflict_of_types(workspace: Workspace) -> None:
    start = await root(workspace)
    ours = await commit(workspace, {"b.py": "B = 5\n"}, start)
    history = History(workspace.snapshots, "run-1")
    await workspace.restore(await history.tree(start))
    (workspace.folder / "b.py").unlink()
    (workspace.folder / "b.py").symlink_to("/etc/hostname")
    linked = await workspace.snapshots.take(workspace.folder, "run-1")
    theirs = await history.commit(linked, CommitNote("run-1", "Link"), [start])
    done = await merge(workspace.snapshots, ours, theirs, "run-1")
    assert {conflict.kind for conflict in done.conflicts} == {"type"}


async def test_a_mode_of_one_side_and_a_text_of_the_other_come_together(workspace: Workspace) -> None:
    start = await root(workspace)
    history = History(workspace.snapshots, "run-1")
    await workspace.restore(await history.tree(start))
    (workspace.folder / "b.py").chmod(0o755)
    ours = await history.commit(
        await workspace.snapshots.take(workspace.folder, "run-1"), CommitNote("run-1", "Mode"), [start]
    )
    done = await merge(workspace.snapshots, ours, await commit(workspace, {"b.py": "B = 2\n"}, start), "run-1")
    assert done.is_clean and await workspace.read(done.tree, "b.py") == "B = 2\n"
    await workspace.restore(done.tree)
    assert os.access(workspace.folder / "b.py", os.X_OK)
    again = await replaced(workspace.snapshots, done.tree, {"b.py": "B = 4\n", "n/e.py": "E\n", "a.py": None}, "run-1")
    await workspace.restore(again)
    assert os.access(workspace.folder / "b.py", os.X_OK) and (workspace.folder / "n" / "e.py").read_text() == "E\n"
    assert not (workspace.folder / "a.py").exists()


async def test_what_is_built_on_the_other_side_is_taken_as_it_is(workspace: Workspace) -> None:
    start = await root(workspace)
    later = await commit(workspace, {"b.py": "B = 2\n"}, start)
    trees = [(await merge(workspace.snapshots, *pair, "run-1")).tree for pair in ((start, later), (later, start))]
    assert trees == [await History(workspace.snapshots, "run-1").tree(later)] * 2


async def test_the_same_merge_gives_the_same_tree_and_merges_may_run_side_by_side(workspace: Workspace) -> None:
    start = await root(workspace)
    sides = [await commit(workspace, {name: "x\n"}, start) for name in ("m", "n", "o")]
    pairs = [(sides[0], sides[1]), (sides[1], sides[2]), (sides[0], sides[1])]
    first, other, again = await asyncio.gather(*(merge(workspace.snapshots, *pair, "run-1") for pair in pairs))
    assert first == again and other.tree != first.tree


async def test_attributes_and_hooks_of_the_files_do_not_bend_a_merge(workspace: Workspace) -> None:
    base: Files = {".gitattributes": "* merge=union -diff\n*.py merge=mine binary\n", "a.py": BASE["a.py"]}
    done = await merged(workspace, {"a.py": edited(2, "ours\n")}, {"a.py": edited(2, "theirs\n")}, base)
    assert [conflict.kind for conflict in done.conflicts] == ["content"]
    done = await merged(workspace, {"a.py": edited(2, "ours\n")}, {"a.py": edited(20, "theirs\n")}, base)
    assert done.is_clean and "ours\n" in (await workspace.read(done.tree, "a.py") or "")


async def test_ignored_files_and_odd_names_are_merged_too(workspace: Workspace) -> None:
    base: Files = {".gitignore": "*\n", 'käse "1".py': "one\n", "-rf": "x\n"}
    done = await merged(workspace, {"-rf": "ours\n"}, {"-rf": "theirs\n", 'käse "1".py': "two\n"}, base)
    assert [(conflict.path, conflict.kind) for conflict in done.conflicts] == [("-rf", "content")]
    assert await workspace.read(done.tree, 'käse "1".py') == "two\n"


async def test_nothing_is_left_behind(workspace: Workspace) -> None:
    await merged(workspace, {"b.py": "1\n"}, {"b.py": "2\n"})
    assert not [place for place in workspace.snapshots.git_dir.iterdir() if place.name.startswith(("merge-", "index-"))]


async def test_what_cannot_be_merged_or_put_is_refused(workspace: Workspace) -> None:
    start = await root(workspace)
    with pytest.raises(NotFound, match="no commit"):
        await merge(workspace.snapshots, start, "0" * 40, "run-1")
    with pytest.raises(Refused):
        await replaced(workspace.snapshots, await workspace.empty(), {"../x": "x"}, "run-1")


async def test_a_merge_survives_pruning(workspace: Workspace, tmp_path: Path) -> None:
    done = await merged(workspace, {"a.py": edited(2, "ours\n")}, {"a.py": edited(20, "theirs\n")})
    await workspace.snapshots.git.run("prune", "--expire=now")
    assert await workspace.read(done.tree, "a.py") is not None
