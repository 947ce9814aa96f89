"""Hand a result over: a new repository of its own, or a branch of the user's. Both happen whole or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from treadle.errors import Conflict, UsageError
from treadle.workspace.commit import is_of_run
from treadle.workspace.git import EMPTY_TREE, NO_OBJECT, Git
from treadle.workspace.history import History, Recorded, replay, to_make
from treadle.workspace.repository import Repository
from treadle.workspace.snapshots import Snapshots


@dataclass(frozen=True, slots=True)
class Published:
    """Where a result is now."""

    commit: str
    place: str
    """The folder of the repository."""
    branch: str


class Publisher(Protocol):
    """Where the result of a build goes."""

    async def base_tree(self) -> str:
        """Return the tree that the work starts from, held by the snapshot store. Idempotent."""

    async def publish(self, tip: str, run_id: str) -> Published:
        """Make the commits that lead to `tip` where the user will look for them: see `workspace.history`.

        Idempotent for one run; whole or not at all.
        """


class NewRepository:
    """The result becomes a new repository in a folder that does not exist yet, or is empty.

    With `may_move`, a place that something else has taken by then gives way to `place-2`, `place-3`, ...
    """

    def __init__(self, out: Path, snapshots: Snapshots, *, may_move: bool = False) -> None:
        self.out = out.absolute()
        self.snapshots = snapshots
        self.may_move = may_move

    async def base_tree(self) -> str:
        """Return the empty tree."""
        return await self.snapshots.empty_tree()

    async def publish(self, tip: str, run_id: str) -> Published:
        """Make the repository beside its place and rename it there, so that it is never seen half made.

        Raises:
            UsageError: The place is not empty by now, or cannot be written. Nothing was changed.
        """
        history = await History(self.snapshots, run_id).log(tip)
        places = numbered(self.out)
        out = next(places)
        while _is_taken(out):
            git = Git(git_dir=out / ".git")
            if await is_of_run(git, "HEAD", run_id, history[-1].tree):
                return Published(await git.text("rev-parse", "HEAD"), str(out), "main")
            if not self.may_move:
                break
            out = next(places)
        refuse_unusable_out(out)
        making = self.out.parent / f".{self.out.name}.treadle-{run_id}"
        shutil.rmtree(making, ignore_errors=True)
        try:
            commit = await self._make(making, history)
            out = self._move(making, out)
        except OSError as error:
            raise _unwritable(out, error) from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return Published(commit, str(out), "main")

    def _move(self, made: Path, out: Path) -> Path:
        """Put what was made at its place; at the next one if another build was quicker just now."""
        while True:
            try:
                os.replace(made, out)
            except OSError:
                if not (self.may_move and _is_taken(out)):
                    raise
                out = next(place for place in numbered(self.out) if not _is_taken(place))
            else:
                return out

    async def _make(self, folder: Path, history: list[Recorded]) -> str:
        folder.mkdir(parents=True)
        git = Git(git_dir=folder / ".git", work_tree=folder, cwd=folder)
        await Git(cwd=folder).run("init", "--quiet", "--template=", "-b", "main")
        trees = await _trees(self.snapshots, to_make(history, on_base=False))
        await copy_objects(self.snapshots.git, git, trees)
        commit = await replay(history, git, None)
        await git.run("update-ref", "refs/heads/main", commit)
        await git.run("reset", "--quiet", "--hard", "main")
        return commit


class HandedOverElsewhere:
    """On a machine that only helps with a build: the result goes where the build was started."""

    def __init__(self, host: str) -> None:
        self.host = host

    async def base_tree(self) -> str:
        """Return the empty tree: what a repository holds is taken where it is."""
        return EMPTY_TREE

    async def publish(self, tip: str, run_id: str) -> Published:
        """Raises Conflict."""
        raise Conflict(f"The result of {run_id!r} is handed over in {self.host}; nothing was written here.")


class RepositoryBranch:
    """The result becomes the branch `treadle/<run>` of an existing repository, on top of the commit it began from."""

    def __init__(self, repository: Repository, snapshots: Snapshots, run_id: str) -> None:
        self.repository = repository
        self.snapshots = snapshots
        self.branch = f"treadle/{run_id}"
        self.run_id = run_id

    async def base_tree(self) -> str:
        """Copy the files of the base commit, not its history, into the snapshot store."""
        await copy_objects(self.repository.git, self.snapshots.git, [self.repository.tree])
        await self.snapshots.protect(self.repository.tree, self.run_id)
        return self.repository.tree

    async def publish(self, tip: str, run_id: str) -> Published:
        """Add the commits and the branch; the checkout, its index and every other branch stay as they are.

        Raises:
            Conflict: The branch exists and is not of this run. Nothing was changed but for unreachable objects.
        """
        git, ref = self.repository.git, f"refs/heads/{self.branch}"
        history = await History(self.snapshots, run_id).log(tip)
        _, out, _ = await git.attempt("rev-parse", "--verify", "--quiet", ref)
        standing = out.decode().strip()
        place = str(self.repository.folder)
        if standing and await is_of_run(git, standing, run_id, history[-1].tree):
            return Published(standing, place, self.branch)
        if standing:
            raise Conflict(f"Branch {self.branch!r} of {place} exists already and is not of this result.")
        await self.snapshots.need(self.repository.tree)
        wanted = [*await _trees(self.snapshots, to_make(history, on_base=True)), f"^{self.repository.tree}"]
        await copy_objects(self.snapshots.git, git, wanted)
        commit = await replay(history, git, self.repository.commit)
        await git.run("update-ref", "-m", f"treadle: {run_id}", ref, commit, NO_OBJECT)
        return Published(commit, place, self.branch)


async def _trees(snapshots: Snapshots, history: list[Recorded]) -> list[str]:
    """The trees of a history, all of them here."""
    trees = list(dict.fromkeys(recorded.tree for recorded in history))
    for tree in trees:
        await snapshots.need(tree)
    return trees


async def copy_objects(source: Git, target: Git, revisions: list[str]) -> None:
    """Copy the objects that `revisions` name, and those not behind a `^`, from one object store to another."""
    pack = await source.run("pack-objects", "--revs", "--stdout", "-q", stdin="\n".join(revisions).encode() + b"\n")
    await target.run("unpack-objects", "-q", stdin=pack)


def numbered(place: Path) -> Iterator[Path]:
    """The place itself, then `place-2`, `place-3`, ...; after `place-2`, `place-3`."""
    yield place
    stem, _, last = place.name.rpartition("-")
    stem, first = (stem, int(last) + 1) if stem and last.isdecimal() else (place.name, 2)
    for number in itertools.count(first):
        yield place.with_name(f"{stem}-{number}")


def _is_taken(place: Path) -> bool:
    """Whether something is there that a new repository cannot replace."""
    return os.path.lexists(place) and not (place.is_dir() and not place.is_symlink() and not any(place.iterdir()))


def refuse_unusable_out(out: Path) -> None:
    """Check that a repository can be made at `out`; changes nothing.

    Raises:
        UsageError: `out` is a file or a folder that is not empty, or its parent cannot be written.
    """
    try:
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            hint = "Name a folder that does not exist."
            raise UsageError(f"--out {out} is not a folder; nothing was written.", hint=hint)
        if out.is_dir() and any(out.iterdir()):
            hint = "Name another folder, or use --repo to work on an existing repository."
            raise UsageError(f"--out {out} is not empty; nothing was written.", hint=hint)
    except PermissionError as error:
        raise _unwritable(out, error) from error
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"{parent} cannot be written, so no repository can be made at {out}.", hint="Choose another --out."
        )


def _unwritable(out: Path, error: OSError) -> UsageError:
    reason = error.strerror or str(error)
    return UsageError(f"No repository can be made at {out}: {reason}.", hint="Choose another --out, or make room.")
