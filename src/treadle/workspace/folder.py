"""A workspace: one folder in which agents write, with snapshots of it that outlive the folder."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from treadle.removal import remove_tree
from treadle.workspace.history import branch_part
from treadle.workspace.paths import inside
from treadle.workspace.snapshots import Snapshots

SNAPSHOTS = "snapshots.git"
"""Where the snapshots lie in a `.treadle` folder."""
_WORK = "work"
_STILL_IN_USE = "1.day.ago"
"""Objects younger than this may be parts of a tree that is just being made."""


class Workspace:
    """The files of one run, or of one task of its plan. Only the holder of the task may write to it.

    Tasks that are done at the same time have folders of their own: see `of_task`.
    """

    def __init__(self, folder: Path, snapshots: Snapshots, run_id: str, task: str = "") -> None:
        self.folder = folder
        self.snapshots = snapshots
        self.run_id = run_id
        self.task = task
        """Id of a task of the plan; empty: the run's own workspace."""

    @classmethod
    async def open(cls, home: Path, run_id: str, snapshots: Snapshots | None = None) -> Workspace:
        """Open the workspace of a run under a `.treadle` folder, making what is missing. Idempotent."""
        snapshots = snapshots or Snapshots(home / SNAPSHOTS)
        await snapshots.open()
        folder = home / _WORK / run_id
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, snapshots, run_id)

    async def of_task(self, task: str) -> Workspace:
        """Open a workspace for one task of the plan: a folder beside the run's, over the same snapshots. Idempotent."""
        folder = self.folder.with_name(f"{self.run_id}.{branch_part(task)}")
        folder.mkdir(parents=True, exist_ok=True)
        return Workspace(folder, self.snapshots, self.run_id, task)

    async def remove(self) -> None:
        """Delete the folder. Idempotent; trees that were taken from it stay among the snapshots."""
        self.snapshots.forget_folder(self.folder)
        await asyncio.to_thread(remove_tree, str(self.folder))

    async def restore(self, tree: str) -> None:
        """Make the folder hold exactly the files of `tree`. Idempotent; see `Snapshots.restore`."""
        await self.snapshots.restore(tree, self.folder)

    async def write(self, tree: str, files: Mapping[str, str | None]) -> str:
        """Put files on top of `tree` and return the tree that holds them. None as a text removes the file.

        Idempotent: it starts from a tree, not from what an interrupted attempt left in the folder.

        Raises:
            Refused: A path leaves the workspace. Nothing was written.
        """
        await self.restore(tree)
        places = {path: inside(self.folder, path) for path in files}
        for path, text in files.items():
            if text is None:
                places[path].unlink(missing_ok=True)
            else:
                places[path].parent.mkdir(parents=True, exist_ok=True)
                places[path].write_bytes(text.encode(errors="surrogateescape"))
        kept = [path for path, text in files.items() if text is not None]
        return await self.snapshots.take(self.folder, self.run_id, since=tree, also=kept)

    async def take(self, since: str, changed: Iterable[str] = (), *, only_these: bool = False) -> str:
        """Return the tree of the folder as it is, ignored files among `changed` included. It came from `since`.

        With `only_these`, all paths but `changed` are taken to be as `since` has them, whatever the folder holds.
        """
        there = [path for path in changed if (self.folder / path).is_symlink() or (self.folder / path).is_file()]
        only = list(changed) if only_these else None
        return await self.snapshots.take(
            self.folder, self.run_id, since=since, also=() if only_these else there, only=only
        )

    async def read(self, tree: str, path: str) -> str | None:
        """Return the text of a file of a tree, or None if the tree has no such file."""
        return await self.snapshots.read(tree, path)

    async def empty(self) -> str:
        """Return the tree with no files."""
        return await self.snapshots.empty_tree()


async def remove_leavings(home: Path, runs: Iterable[str], kept: Collection[str] = ()) -> None:
    """Delete what runs left under a `.treadle` folder: the folders they worked in, and their snapshots. Idempotent.

    `kept` names the runs that stay. Room on the disk comes back when git collects its garbage.
    """
    snapshots, work, gone = Snapshots(home / SNAPSHOTS), home / _WORK, set(runs)
    for folder in work.iterdir() if work.is_dir() else ():
        owner = max((run for run in gone.union(kept) if f"{folder.name}.".startswith(f"{run}.")), key=len, default="")
        if owner in gone:
            await Workspace(folder, snapshots, owner).remove()
    for run_id in gone if snapshots.git_dir.exists() else ():
        await snapshots.forget(run_id)


async def collect_garbage(home: Path) -> None:
    """Give the room of snapshots that no run holds any more back to the disk. What is under way is not touched."""
    snapshots = Snapshots(home / SNAPSHOTS)
    if snapshots.git_dir.exists():
        await snapshots.git.run("gc", "--quiet", f"--prune={_STILL_IN_USE}")
