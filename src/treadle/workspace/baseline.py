"""What the files of a folder are compared with: a tree of the snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from treadle.workspace.git import Git
from treadle.workspace.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class TreeBaseline:
    """Implements `ports.tool.Baseline` for a folder that began as a tree."""

    snapshots: Snapshots
    folder: Path
    run_id: str
    tree: str

    async def diff(self) -> str:
        """The unified diff from the tree to the folder. Files that the folder's .gitignore names are left out."""
        now = await self.snapshots.take(self.folder, self.run_id, since=self.tree)
        return "" if now == self.tree else await self.snapshots.diff(self.tree, now)


async def commit_baseline(folder: Path, scratch: Path) -> TreeBaseline | None:
    """The files of a folder in the commit that its repository has checked out; None without one.

    The repository is only read: what is made lies in `scratch`, which the caller removes.
    """
    git = Git(cwd=folder)
    code, out, _ = await git.attempt("rev-parse", "--verify", "--quiet", "HEAD:./")
    if code != 0:
        return None
    objects = (folder / await git.text("rev-parse", "--git-path", "objects")).resolve()
    snapshots = Snapshots(scratch)
    await snapshots.open()
    (scratch / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    return TreeBaseline(snapshots, folder, "call", out.decode().strip())
