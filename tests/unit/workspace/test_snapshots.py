"""Snapshots bring back exactly what was there."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from gitcalls import git

from treadle.errors import NotFound, Refused
from treadle.workspace import Workspace
from treadle.workspace.git import Git
from treadle.workspace.snapshots import Snapshots


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


async def test_restore_rebuilds_a_deleted_folder_exactly(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "a\r\nb\n", "pkg/b.txt": "ü\n", "empty": ""})
    before = files_of(workspace.folder)
    shutil.rmtree(workspace.folder)
    await workspace.restore(tree)
    assert files_of(workspace.folder) == before
    assert before["a.py"] == b"a\r\nb\n"


async def test_restore_removes_what_the_tree_does_not_have(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    (workspace.folder / "junk" / "deep").mkdir(parents=True)
    (workspace.folder / "junk" / "deep" / "x").write_text("x")
    (workspace.folder / "link").symlink_to("/etc")
    (workspace.folder / "a.py").write_text("2\n")
    (workspace.folder / "locked").mkdir()
    (workspace.folder / "locked" / "y").write_text("y")
    (workspace.folder / "locked").chmod(0)
    await workspace.restore(tree)
    assert files_of(workspace.folder) == {"a.py": b"1\n"}
    assert os.path.isdir("/etc")


async def test_file_that_differs_from_both_trees_stands_in_nobodys_way(workspace: Workspace) -> None:
    """Git's merge of indexes would refuse it as `not uptodate`."""
    one = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    two = await workspace.write(one, {"a.py": "2\n"})
    (workspace.folder / "a.py").write_text("a command wrote this\n")
    three = await workspace.snapshots.take(workspace.folder, "run", since=one)
    assert await workspace.read(three, "a.py") == "a command wrote this\n"
    await workspace.restore(two)
    (workspace.folder / "a.py").write_text("and this\n")
    await workspace.restore(one)
    assert files_of(workspace.folder) == {"a.py": b"1\n"}


async def test_restore_puts_a_file_where_a_folder_stood_and_back(workspace: Workspace) -> None:
    one = await workspace.write(await workspace.empty(), {"x": "file\n"})
    two = await workspace.write(one, {"x": None, "y": "y\n"})
    three = await workspace.write(two, {"x/inner": "folder\n"})
    for tree, expected in ((one, {"x"}), (three, {"y", "x/inner"}), (one, {"x"}), (two, {"y"})):
        await workspace.restore(tree)
        assert set(files_of(workspace.folder)) == expected


async def test_equal_files_give_an_equal_tree_and_diff_shows_the_change(workspace: Workspace) -> None:
    empty = await workspace.empty()
    one = await workspace.write(empty, {"a.py": "1\n"})
    two = await workspace.write(one, {"a.py": "2\n"})
    assert await workspace.write(two, {"a.py": "1\n"}) == one != two
    assert "-1\n+2" in await workspace.snapshots.diff(one, two)
    assert await workspace.read(one, "a.py") == "1\n"
    assert await workspace.read(one, "b.py") is None
    assert await workspace.snapshots.files(two) == ["a.py"]


async def test_write_starts_from_the_tree_not_from_what_a_crash_left(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    (workspace.folder / "half").write_text("left by an interrupted attempt")
    after = await workspace.write(tree, {"b.py": "2\n"})
    assert await workspace.snapshots.files(after) == ["a.py", "b.py"]


async def test_ignored_files_stay_out_unless_written_on_purpose(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {".gitignore": "*.log\n", "keep.log": "kept\n"})
    (workspace.folder / "junk.log").write_text("x")
    (workspace.folder / "__pycache__").mkdir()
    (workspace.folder / "__pycache__" / "a.pyc").write_text("x")
    after = await workspace.snapshots.take(workspace.folder, "run-1", since=tree)
    assert await workspace.snapshots.files(after) == [".gitignore", "keep.log"]


async def test_attributes_of_the_files_do_not_change_their_bytes(workspace: Workspace) -> None:
    attributes = "* text=auto eol=crlf ident\n*.x filter=evil working-tree-encoding=UTF-16\n"
    texts = {".gitattributes": attributes, "a.txt": "one\n$Id$\n", "b.x": "two\n"}
    tree = await workspace.write(await workspace.empty(), texts)
    shutil.rmtree(workspace.folder)
    await workspace.restore(tree)
    assert files_of(workspace.folder) == {name: text.encode() for name, text in texts.items()}


async def test_a_repository_made_inside_is_left_out(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    inner = workspace.folder / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    (inner / "f").write_text("f")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "x")
    after = await workspace.snapshots.take(workspace.folder, "run-1", since=tree)
    assert after == tree
    await workspace.restore(tree)
    assert files_of(workspace.folder) == {"a.py": b"1\n"}


async def test_a_tree_survives_pruning_until_its_run_is_forgotten(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    git = workspace.snapshots.git
    await git.run("prune", "--expire=now")
    await workspace.restore(tree)
    await workspace.snapshots.forget("run-1")
    await git.run("prune", "--expire=now")
    with pytest.raises(NotFound):
        await workspace.restore(tree)


async def test_a_damaged_index_and_a_stale_lock_do_not_stop_later_calls(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    for index in (workspace.snapshots.git_dir / "treadle").glob("*.index"):
        index.write_bytes(b"DIRC")
        index.with_name(index.name + ".lock").touch()
    (workspace.snapshots.git_dir / "refs" / "treadle" / "run-1" / f"{tree}.lock").touch()
    assert await workspace.write(tree, {"b.py": "2\n"}) != tree
    assert await workspace.snapshots.take(workspace.folder, "run-1") != tree


async def test_write_refuses_a_path_outside_and_writes_nothing(workspace: Workspace) -> None:
    tree = await workspace.write(await workspace.empty(), {"a.py": "1\n"})
    with pytest.raises(Refused):
        await workspace.write(tree, {"b.py": "2\n", "../c.py": "3\n"})
    assert files_of(workspace.folder) == {"a.py": b"1\n"}


async def test_user_configuration_does_not_reach_git(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[core]\n autocrlf = true\n excludesFile = /x\n[commit]\n gpgsign = true\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert await Git(cwd=tmp_path).text("config", "--get", "core.autocrlf") == "false"
    tree = await workspace.write(await workspace.empty(), {"a.txt": "a\r\n"})
    await workspace.restore(tree)
    assert (workspace.folder / "a.txt").read_bytes() == b"a\r\n"


async def test_a_store_opened_many_times_at_once_is_made_once(tmp_path: Path) -> None:
    stores = [Snapshots(tmp_path / "state" / "store.git") for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["store.git"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    assert len({await store.take(tmp_path / "folder", "r") for store in stores}) == 1


async def test_texts_are_all_text_files_that_are_not_too_large(workspace: Workspace) -> None:
    files = {"a.py": "ä = 1\n", "pkg/empty.txt": "", "pkg/big.txt": "x" * 2000, "odd name.md": "# Odd\r\n"}
    tree = await workspace.write(await workspace.empty(), files)
    (workspace.folder / "logo.bin").write_bytes(b"\0\1\2")
    (workspace.folder / "link.txt").symlink_to("a.py")
    tree = await workspace.snapshots.take(workspace.folder, "r1", since=tree)
    texts = await workspace.snapshots.texts(tree, max_bytes=1000)
    assert texts == {"a.py": "ä = 1\n", "pkg/empty.txt": "", "odd name.md": "# Odd\r\n"}
    assert await workspace.snapshots.texts(await workspace.empty()) == {}
