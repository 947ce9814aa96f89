"""Snapshots that several machines share: what one leaves, another has, and nothing is sent twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from treadle.domain.events import Event, TreeShared
from treadle.errors import Refused, SnapshotUnavailable
from treadle.ports.store import JournalEntry
from treadle.stores.memory import MemoryStore
from treadle.testing.samples import new_run, new_task
from treadle.workspace import SharedSnapshots, Workspace
from treadle.workspace.shared import TREES

RUN = "r1"
LARGE = "".join(f"line {number} of something long\n" for number in range(4_000))


class CountingStore(MemoryStore):
    """Counts the blobs that are put and got, and can lose or damage one."""

    def __init__(self) -> None:
        super().__init__()
        self.put: list[int] = []
        self.got: list[str] = []
        self.damaged: dict[str, bytes] = {}

    async def record(self, run_id: str, activation: str, entry: JournalEntry) -> Event:
        if entry.blob is not None:
            self.put.append(len(entry.blob))
        return await super().record(run_id, activation, entry)

    async def get_blob(self, digest: str) -> bytes:
        self.got.append(digest)
        return self.damaged.get(digest) or await super().get_blob(digest)


@pytest.fixture
async def store() -> CountingStore:
    made = CountingStore()
    await made.create_run(new_run(RUN, new_task("a")))
    return made


async def machine(folder: Path, store: CountingStore, **limits: Any) -> Workspace:
    """The workspace of the run on one machine."""
    return await Workspace.open(folder, RUN, SharedSnapshots(folder / "snapshots.git", store, RUN, **limits))


async def shared(store: CountingStore) -> list[TreeShared]:
    return [event.payload for event in await store.journal(RUN, TREES) if isinstance(event.payload, TreeShared)]


async def test_what_one_machine_writes_another_has(tmp_path: Path, store: CountingStore) -> None:
    here, there = await machine(tmp_path / "a", store), await machine(tmp_path / "b", store)
    base = await here.empty()
    tree = await here.write(base, {"a.py": "A = 1\n", "pkg/b.py": "B = 2\n", "bin": "\udcff\udcfe"})
    await there.restore(tree)
    assert (there.folder / "pkg" / "b.py").read_text() == "B = 2\n"
    assert (there.folder / "bin").read_bytes() == b"\xff\xfe"
    assert await there.read(tree, "a.py") == "A = 1\n"
    assert await there.snapshots.diff(base, tree) == await here.snapshots.diff(base, tree)
    assert len(store.got) == 1


async def test_a_bundle_holds_only_what_its_base_lacks(tmp_path: Path, store: CountingStore) -> None:
    here, there = await machine(tmp_path / "a", store), await machine(tmp_path / "b", store)
    first = await here.write(await here.empty(), {"large.txt": LARGE, "a.py": "A = 1\n"})
    second = await here.write(first, {"a.py": "A = 2\n"})
    third = await here.write(second, {"a.py": "A = 3\n"})
    whole, *changes = [entry.bytes for entry in await shared(store)]
    assert whole > 10_000 and max(changes) < 600
    assert [entry.base for entry in await shared(store)] == ["", first, second]
    await there.restore(third)  # comes with all that it builds on
    assert (there.folder / "a.py").read_text() == "A = 3\n" and (there.folder / "large.txt").read_text() == LARGE
    assert len(store.got) == 3
    await there.restore(second)
    assert len(store.got) == 3


async def test_what_was_published_costs_nothing_again(tmp_path: Path, store: CountingStore) -> None:
    files = {"a.py": "A = 1\n"}
    here, there = await machine(tmp_path / "a", store), await machine(tmp_path / "b", store)
    tree = await here.write(await here.empty(), files)
    assert await here.write(await here.empty(), files) == tree
    assert await there.write(await there.empty(), files) == tree
    again = await machine(tmp_path / "a", store)  # a process that goes on after a crash
    assert await again.write(await again.empty(), files) == tree
    assert len(store.put) == 1 and len(await shared(store)) == 1 and store.got == []


async def test_the_files_that_two_runs_begin_with_are_kept_once(tmp_path: Path, store: CountingStore) -> None:
    await store.create_run(new_run("r2", new_task("a")))
    for run_id in (RUN, "r2"):
        place = tmp_path / run_id
        workspace = await Workspace.open(place, run_id, SharedSnapshots(place / "snapshots.git", store, run_id))
        await workspace.write(await workspace.empty(), {"large.txt": LARGE, "pkg/a.py": "A = 1\n"})
    blobs = {
        event.payload.blob
        for run_id in (RUN, "r2")
        for event in await store.journal(run_id, TREES)
        if isinstance(event.payload, TreeShared)
    }
    assert len(blobs) == 1


async def test_machines_that_make_one_tree_by_different_ways_agree_on_its_bundle(
    tmp_path: Path, store: CountingStore
) -> None:
    here, there = await machine(tmp_path / "a", store), await machine(tmp_path / "b", store)
    empty = await here.empty()
    detour = await here.write(empty, {"a.py": "A = 0\n"})
    tree = await here.write(detour, {"a.py": "A = 1\n"})
    assert await there.write(empty, {"a.py": "A = 1\n"}) == tree
    later = await there.write(tree, {"b.py": "B = 1\n"})
    third = await machine(tmp_path / "c", store)
    await third.restore(later)
    assert sorted(path.name for path in third.folder.iterdir()) == ["a.py", "b.py"]


@pytest.mark.parametrize("damage", ["other bytes", "another bundle", "missing", "no bundle"])
async def test_a_bundle_that_is_damaged_or_missing_is_an_error_and_no_wrong_tree(
    tmp_path: Path, store: CountingStore, damage: str
) -> None:
    here, there = await machine(tmp_path / "a", store), await machine(tmp_path / "b", store)
    tree = await here.write(await here.empty(), {"a.py": "A = 1\n"})
    other = await here.write(await here.empty(), {"a.py": "A = 666\n"})
    wanted, another = await shared(store)
    if damage == "other bytes":
        store.damaged[wanted.blob] = b"x" + (await store.get_blob(wanted.blob))[1:]
    elif damage == "missing":
        del store._blobs[wanted.blob]
    else:
        blob = another.blob if damage == "another bundle" else await store.put_blob(b"no bundle")
        forged = TreeShared(wanted.tree, wanted.commit, "", blob, 1, "mallory")
        there.snapshots._shared = {tree: forged}  # type: ignore[attr-defined]
    (there.folder / "kept").write_text("as it was")
    with pytest.raises(SnapshotUnavailable, match=r"cannot be used: .*Nothing was taken"):
        await there.restore(tree)
    assert [path.name for path in there.folder.iterdir()] == ["kept"]
    if damage != "another bundle":
        await there.restore(other)
        assert (there.folder / "a.py").read_text() == "A = 666\n"


async def test_a_tree_that_nobody_shares_is_said_to_be_nowhere(tmp_path: Path, store: CountingStore) -> None:
    there = await machine(tmp_path / "b", store)
    with pytest.raises(SnapshotUnavailable, match="neither on this machine nor in the store"):
        await there.restore("0123456789" * 4)


async def test_what_is_too_large_is_refused_before_it_is_sent(tmp_path: Path, store: CountingStore) -> None:
    here = await machine(tmp_path / "a", store, max_bundle_bytes=2_000)
    small = await here.write(await here.empty(), {"a.py": "A = 1\n"})
    with pytest.raises(Refused, match=r"and 2,000 may be sent"):
        await here.write(small, {"large.txt": LARGE})
    assert len(store.put) == 1
