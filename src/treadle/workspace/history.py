"""The commits of a run in the snapshot store: what each task made, and how its work came together.

A history starts from a root, which stands for what the run began from. When it is handed over, the root gives way to
the commit of the user's repository, or to nothing; the other commits are made again there, by the user.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.errors import NotFound, TreadleError
from treadle.workspace.commit import CommitNote, make_commit
from treadle.workspace.git import EMPTY_TREE, Git, Identity, user_identity
from treadle.workspace.snapshots import Snapshots

_FORM = "%H%x00%T%x00%P%x00%ct%x00%B%x00%x01"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One commit as it was made."""

    commit: str
    tree: str
    parents: tuple[str, ...]
    when: int
    message: str


class History:
    """Makes and reads the commits of one run. Everything it makes stays until the run is forgotten."""

    def __init__(self, snapshots: Snapshots, run_id: str) -> None:
        self.snapshots = snapshots
        self.run_id = run_id

    async def begin(self, tree: str) -> str:
        """Make the root: the commit that stands for the files the run began from. The same tree gives the same root."""
        if tree == EMPTY_TREE:
            await self.snapshots.empty_tree()  # git knows its name without having it
        return await self.commit(tree, CommitNote(self.run_id, "Start"))

    async def commit(self, tree: str, note: CommitNote, parents: Sequence[str] = (), *, branch: str = "") -> str:
        """Make a commit, and with `branch` the branch `treadle/<run>/<branch>` that names it. Idempotent.

        Tree, note and parents alone decide its name, so a node that is entered again makes the same commit.
        """
        await self.snapshots.need(tree)
        made = await make_commit(self.snapshots.git, tree, note.message(), Identity(), parents=parents, when=note.when)
        await self.snapshots.keep(f"refs/treadle/{self.run_id}/history/{made}", made)
        if branch:
            await self.snapshots.keep(f"refs/heads/{self.branch(branch)}", made)
        return made

    async def one(self, base: str, tree: str, note: CommitNote) -> str:
        """Make the history of a run with one result: its commit on top of the root."""
        return await self.commit(tree, note, [await self.begin(base)])

    def branch(self, name: str) -> str:
        """The branch of a task, or of whatever else has a name in the run."""
        return f"treadle/{self.run_id}/{branch_part(name)}"

    async def tree(self, commit: str) -> str:
        """Return the tree of a commit. Raises NotFound if the store has no such commit."""
        try:
            return await self.snapshots.git.text("rev-parse", "--verify", f"{commit}^{{tree}}")
        except TreadleError as error:
            raise NotFound(f"The snapshot store has no commit {commit!r}.") from error

    async def when(self, commit: str) -> int:
        """Return when a commit was made, as its note says."""
        return int(await self.snapshots.git.text("log", "-1", "--format=%ct", commit, "--"))

    async def contains(self, commit: str, earlier: str) -> bool:
        """Tell whether a commit is built on an earlier one, or is the same."""
        code, _, _ = await self.snapshots.git.attempt("merge-base", "--is-ancestor", earlier, commit)
        return code == 0

    async def log(self, tip: str) -> list[Recorded]:
        """List the commits that lead to `tip`, parents before children. Raises NotFound if there is no such commit."""
        try:
            out = await self.snapshots.git.run("log", "--topo-order", "--reverse", f"--format={_FORM}", tip, "--")
        except TreadleError as error:
            raise NotFound(f"The snapshot store has no commit {tip!r}.") from error
        found = []
        for said in out.decode(errors="replace").split("\0\1")[:-1]:
            commit, tree, parents, when, message = said.lstrip("\n").split("\0")
            found.append(Recorded(commit, tree, tuple(parents.split()), int(when), message))
        return found


def to_make(history: Sequence[Recorded], *, on_base: bool) -> list[Recorded]:
    """The commits of a history that a hand-over makes, parents before children.

    The root is not among them if there is a commit in its place (`on_base`), or if a single commit is built on it.
    Otherwise it is, so that what is handed over has one beginning.
    """
    roots = {recorded.commit for recorded in history if not recorded.parents}
    if not on_base:
        roots = {root for root in roots if sum(root in recorded.parents for recorded in history) == 1}
    return [recorded for recorded in history if recorded.commit not in roots]


async def replay(history: Sequence[Recorded], git: Git, base: str | None) -> str:
    """Make the commits of a history again in another object store that has their trees; returns the last one.

    They are by the user of this machine. The root becomes the commit `base`; for the case without one see `to_make`.
    """
    identity = await user_identity()
    first = min((recorded.when for recorded in history if recorded.when), default=None)
    made = {} if base is None else {recorded.commit: base for recorded in history if not recorded.parents}
    for recorded in to_make(history, on_base=base is not None):
        parents = [made[parent] for parent in recorded.parents if parent in made]
        when = recorded.when or (None if parents else first)
        made[recorded.commit] = await make_commit(
            git, recorded.tree, recorded.message, identity, parents=parents, when=when
        )
    return made[history[-1].commit]


def branch_part(name: str) -> str:
    """Turn the id of a task into one part of a branch or folder name. Other ids give other parts."""
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:50]
    return clean if clean == name else f"{clean or 'task'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
