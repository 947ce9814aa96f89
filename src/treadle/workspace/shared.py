"""Snapshots of one run on one of several machines: a tree that is not here comes as a git bundle from the store.

Every tree that a log may come to name is published before anything names it: its bundle is kept as a blob, and the
run's journal says under which digest (`TreeShared`). A bundle holds only what its base lacks, and the base has a bundle
of its own. Bundles are of commits, so each tree gets one that depends on nothing but the tree and its base.
"""

from __future__ import annotations

import hashlib
import socket
import tempfile
from pathlib import Path
from typing import Protocol

from treadle.domain.events import Draft, TreeShared
from treadle.errors import NotFound, Refused, SnapshotUnavailable, TreadleError
from treadle.ports.store import Blobs, Journal, JournalEntry
from treadle.workspace.git import EMPTY_TREE, Identity
from treadle.workspace.snapshots import Snapshots

TREES = "@trees"
"""In the journal of a run, the activation under which its shared trees lie. No node can have that name."""
MAX_BUNDLE_BYTES = 128 * 2**20
_TREADLE = Identity()
_COMMIT = {f"GIT_{role}_DATE": "@0 +0000" for role in ("AUTHOR", "COMMITTER")} | {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", _TREADLE.name), ("EMAIL", _TREADLE.email))
}


class SharedStore(Journal, Blobs, Protocol):
    """What of a store is needed here."""


class SharedSnapshots(Snapshots):
    """A snapshot store whose trees of one run every machine can have. Any machine may publish; the first one counts."""

    def __init__(
        self, git_dir: Path, store: SharedStore, run_id: str, *, max_bundle_bytes: int = MAX_BUNDLE_BYTES
    ) -> None:
        super().__init__(git_dir)
        self._store = store
        self._run_id = run_id
        self._max_bundle_bytes = max_bundle_bytes
        self._shared: dict[str, TreeShared] = {}
        self._here = {EMPTY_TREE}

    async def need(self, tree: str) -> None:
        """Have a tree here, fetched if it is not. Idempotent; asks the store only for what is not here.

        Raises:
            SnapshotUnavailable: The run shares no such tree, or its bundle is missing or damaged. No ref was made.
        """
        if tree not in self._here:
            if not await self._has(tree):
                await self._fetch(await self._entry(tree))
            self._here.add(tree)

    async def protect(self, tree: str, run_id: str, since: str | None = None) -> None:
        """Keep a tree here, and publish it unless some machine has; what it shares with `since` is not sent again.

        Raises:
            Refused: Its bundle is larger than what may be sent. The tree is kept here, and not published.
        """
        await super().protect(tree, run_id)
        self._here.add(tree)
        if tree != EMPTY_TREE and await self._find(tree) is None:
            await self._publish(tree, await self._find(since) if since else None)

    async def _publish(self, tree: str, base: TreeShared | None) -> None:
        if base is not None:
            await self._have_commit(base)
        parent = ["-p", base.commit] if base else []
        commit = await self.git.text("commit-tree", tree, *parent, "-m", "snapshot", env=_COMMIT)
        await self._hold(tree, commit)
        bundle = await self._bundled(commit, base)
        if len(bundle) > self._max_bundle_bytes:
            raise Refused(
                f"The files of tree {tree[:10]} make a bundle of {len(bundle):,} bytes, and {self._max_bundle_bytes:,} "
                f"may be sent through the store; run {self._run_id!r} cannot go on elsewhere.",
                hint="Build it on one machine (--store sqlite:///PATH), or take large files out of the repository.",
            )
        digest = hashlib.sha256(bundle).hexdigest()
        said = TreeShared(tree, commit, base.tree if base else "", digest, len(bundle), socket.gethostname())
        entry = JournalEntry(Draft(said, TREES, tree), blob=bundle)
        event = await self._store.record(self._run_id, TREES, entry)
        assert isinstance(event.payload, TreeShared)
        self._shared[tree] = event.payload

    async def _bundled(self, commit: str, base: TreeShared | None) -> bytes:
        """Make a bundle that is the same bytes for the same commit and base, whatever the run: kept once by the store.

        `git bundle create` would put the name of a ref into it.
        """
        needs, lacks = (f"-{base.commit} base\n", f"^{base.commit}\n") if base else ("", "")
        thin = ("--thin", "--threads=1", "--no-reuse-delta", "--stdout", "-q")
        pack = await self.git.run("pack-objects", "--revs", *thin, stdin=f"{commit}\n{lacks}".encode())
        return f"# v2 git bundle\n{needs}{commit} refs/heads/snapshot\n\n".encode() + pack

    async def _fetch(self, wanted: TreeShared) -> None:
        """Import a tree's bundle, after those that it builds on."""
        missing = [wanted]
        while missing[-1].base and not await self._has((base := await self._entry(missing[-1].base)).commit):
            missing.append(base)
        for shared in reversed(missing):
            await self._import(shared)

    async def _import(self, shared: TreeShared) -> None:
        """Take in one bundle whole. Its objects are named by their content, so nothing but the tree can come of it."""
        base = await self._entry(shared.base) if shared.base else None
        if base is not None:
            await self._hold(base.tree, base.commit)
        bundle = await self._bundle(shared)
        try:
            with tempfile.NamedTemporaryFile(dir=self.git_dir, prefix="bundle-") as file:
                file.write(bundle)
                file.flush()
                await self.git.run("bundle", "verify", "-q", file.name)
                await self.git.run("bundle", "unbundle", file.name)
            known = [f"^{base.commit}"] if base else []
            await self.git.run("rev-list", "--objects", "--quiet", shared.commit, *known)
            tree = await self.git.text("rev-parse", f"{shared.commit}^{{tree}}")
        except TreadleError as error:
            raise self._unusable(shared, str(error)) from error
        if tree != shared.tree:
            raise self._unusable(shared, f"it holds the tree {tree[:10]}")
        await self._hold(shared.tree, shared.commit)
        await super().protect(shared.tree, self._run_id)
        self._here.add(shared.tree)

    async def _bundle(self, shared: TreeShared) -> bytes:
        try:
            bundle = await self._store.get_blob(shared.blob)
        except NotFound as error:
            raise self._unusable(shared, "the store does not have it") from error
        if hashlib.sha256(bundle).hexdigest() != shared.blob:
            raise self._unusable(shared, f"its {len(bundle):,} bytes are not those that were sent")
        return bundle

    async def _have_commit(self, shared: TreeShared) -> None:
        if not await self._has(shared.commit):  # another machine published the same tree first
            await self._fetch(shared)
        await self._hold(shared.tree, shared.commit)

    async def _hold(self, tree: str, commit: str) -> str:
        return await self.keep(f"refs/treadle/{self._run_id}/commits/{tree}", commit)

    async def _has(self, name: str) -> bool:
        code, _, _ = await self.git.attempt("cat-file", "-e", name)
        return code == 0

    async def _entry(self, tree: str) -> TreeShared:
        found = await self._find(tree)
        if found is None:
            raise SnapshotUnavailable(
                f"The tree {tree[:10]} of run {self._run_id!r} is neither on this machine nor in the store.",
                hint="Go on with the run on the machine where it was started.",
            )
        return found

    async def _find(self, tree: str) -> TreeShared | None:
        """Look a tree up in what the run has shared."""
        if tree not in self._shared:
            for event in await self._store.journal(self._run_id, TREES):
                if isinstance(event.payload, TreeShared):
                    self._shared[event.payload.tree] = event.payload
        return self._shared.get(tree)

    def _unusable(self, shared: TreeShared, why: str) -> SnapshotUnavailable:
        return SnapshotUnavailable(
            f"The bundle {shared.blob[:10]} of tree {shared.tree[:10]} (run {self._run_id!r}, sent by {shared.host}) "
            f"cannot be used: {why}. Nothing was taken from it.",
            hint=f"Go on with the run on {shared.host}, which has the tree.",
        )
