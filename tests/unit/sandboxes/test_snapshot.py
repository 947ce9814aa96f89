"""A workspace is brought back to what it was, whatever was done to it, and nothing beside it is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import Refused
from treadle.ports.sandbox import MIB
from treadle.sandboxes import _snapshot
from treadle.sandboxes._disk import measure
from treadle.sandboxes._snapshot import FolderSnapshot


def state(folder: Path) -> dict[str, object]:
    """Everything that is below a folder."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name, status = str(path.relative_to(folder)), path.lstat()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = oct(status.st_mode)
        else:
            found[name] = (oct(status.st_mode), status.st_mtime_ns, path.read_bytes())
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "sub/empty").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "sub/run.sh").write_text("two")
    (folder / "sub/run.sh").chmod(0o750)
    (folder / "link").symlink_to("a.txt")
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("ours")
    return folder


async def test_everything_comes_back_and_what_is_new_goes(workspace: Path) -> None:
    before = state(workspace)
    snapshot = await FolderSnapshot.take(workspace)
    (workspace / "a.txt").write_text("in place")
    (workspace / "sub/run.sh").unlink()
    (workspace / "sub/run.sh").mkdir()
    (workspace / "sub/run.sh/deep").write_text("x")
    (workspace / "sub/empty").rmdir()
    (workspace / "sub/empty").symlink_to("/etc")
    (workspace / "link").unlink()
    (workspace / "link").mkdir()
    (workspace / "new/er").mkdir(parents=True)
    (workspace / "new/er/file").write_text("x")
    (workspace / "new").chmod(0)
    os.mkfifo(workspace / "pipe")
    await snapshot.restore()
    assert state(workspace) == before
    (workspace / "a.txt").write_text("again")
    await snapshot.restore()
    assert state(workspace) == before
    await snapshot.close()
    await snapshot.close()
    assert [path.name for path in workspace.parent.iterdir()] == ["workspace"]


async def test_a_repository_is_left_as_it_is(workspace: Path) -> None:
    snapshot = await FolderSnapshot.take(workspace)
    (workspace / ".git/config").write_text("newer")
    await snapshot.restore()
    assert (workspace / ".git/config").read_text() == "newer"
    await snapshot.close()


async def test_nothing_that_a_link_leads_to_is_touched(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "run.sh").write_text("host")
    snapshot = await FolderSnapshot.take(workspace)
    for name in ("run.sh", "empty"):
        path = workspace / "sub" / name
        path.rmdir() if path.is_dir() else path.unlink()
    (workspace / "sub").rmdir()
    (workspace / "sub").symlink_to(outside)
    (workspace / "a.txt").unlink()
    os.link(outside / "run.sh", workspace / "a.txt")
    await snapshot.restore()
    assert (outside / "run.sh").read_text() == "host" and len(list(outside.iterdir())) == 1
    assert (workspace / "sub/run.sh").read_text() == "two"
    await snapshot.close()


async def test_what_did_not_change_is_not_written_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_snapshot, "_CLOCK_NANOSECONDS", 0)
    old = workspace / "a.txt"
    was = old.stat()
    snapshot = await FolderSnapshot.take(workspace)
    (workspace / "sub/run.sh").write_text("changed")
    await snapshot.restore()
    assert old.stat().st_ino == was.st_ino
    assert (workspace / "sub/run.sh").read_text() == "two"
    await snapshot.close()


async def test_a_file_that_changed_just_before_is_written_again_for_its_clock_is_coarse(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_snapshot, "_CLOCK_NANOSECONDS", 3600 * 10**9)
    (workspace / "a.txt").write_text("two")
    snapshot = await FolderSnapshot.take(workspace)
    assert snapshot._kept["a.txt"].stamp is None
    await snapshot.close()


async def test_holes_take_no_room_in_the_copy(workspace: Path) -> None:
    sparse = os.open(workspace / "sparse", os.O_RDWR | os.O_CREAT)
    os.truncate(sparse, 300 * MIB)
    os.pwrite(sparse, b"in the middle", 100 * MIB)
    os.close(sparse)
    snapshot = await FolderSnapshot.take(workspace)
    assert measure(snapshot._copies).bytes < MIB
    (workspace / "sparse").unlink()
    await snapshot.restore()
    sparse = os.open(workspace / "sparse", os.O_RDONLY)
    assert (os.pread(sparse, 13, 100 * MIB), os.fstat(sparse).st_size) == (b"in the middle", 300 * MIB)
    os.close(sparse)
    await snapshot.close()


async def test_a_bomb_of_hard_links_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_snapshot, "_HARD_LINKS_BYTES", 3 * MIB)
    (workspace / "big").write_bytes(b"x" * MIB)
    for n in range(10):
        os.link(workspace / "big", workspace / f"big{n}")
    with pytest.raises(Refused, match="several names"):
        await FolderSnapshot.take(workspace)
    assert [path.name for path in workspace.parent.iterdir()] == ["workspace"]


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(NAMES, st.binary(max_size=20), max_size=6)


def lay(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in sorted(files.items()):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:  # one name is a folder of another
            continue


@given(TREES, TREES)
@settings(max_examples=40, deadline=None)
def test_any_tree_comes_back_from_any_other(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    import asyncio
    import shutil
    import tempfile

    async def there_and_back(folder: Path) -> None:
        snapshot = await FolderSnapshot.take(folder)
        was = state(folder)
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        lay(folder, after)
        await snapshot.restore()
        assert state(folder) == was
        await snapshot.close()

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "w")
        folder.mkdir()
        lay(folder, before)
        asyncio.run(there_and_back(folder))
