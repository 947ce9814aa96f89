"""An existing repository of the user's, looked at without changing anything in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import UsageError
from treadle.workspace.git import Git

_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisect",
}


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as it was when the build started."""

    folder: Path
    """The top folder of the working tree."""
    commit: str
    """What HEAD named; the work starts from here."""
    tree: str
    branch: str
    """The checked-out branch, or `HEAD` when none is."""
    uncommitted: int
    """Number of files with changes that are in no commit; the build does not see them."""

    @property
    def git(self) -> Git:
        return Git(cwd=self.folder)

    async def files(self) -> list[str]:
        """Paths of the files in the commit that the work starts from."""
        listed = await self.git.run("ls-tree", "-r", "-z", "--name-only", self.tree)
        return [path.decode(errors="surrogateescape") for path in listed.split(b"\0") if path]


async def open_repository(path: Path) -> Repository:
    """Look at a repository and check that a branch can be made in it. Changes nothing, not even the index's file times.

    Raises:
        UsageError: No repository, a bare one, one without commits, or one in the middle of a merge or the like.
    """
    folder = await _top_folder(path)
    git = Git(cwd=folder)
    code, out, _ = await git.attempt("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if code != 0:
        hint = "Make a first commit: git commit --allow-empty -m 'Start'."
        raise UsageError(f"{folder} has no commit yet, so there is nothing to branch from.", hint=hint)
    await _refuse_unfinished(git, folder)
    await _refuse_other_hash(git, folder)
    commit = out.decode().strip()
    return Repository(
        folder=folder,
        commit=commit,
        tree=await git.text("rev-parse", f"{commit}^{{tree}}"),
        branch=await git.text("rev-parse", "--abbrev-ref", "HEAD"),
        uncommitted=len((await git.text("status", "--porcelain", "--untracked-files=normal")).splitlines()),
    )


async def _top_folder(path: Path) -> Path:
    if not os.path.isdir(path):
        raise UsageError(f"--repo {path} is not a folder.", hint="Name the folder of a git repository.")
    code, out, err = await Git(cwd=path).attempt("rev-parse", "--is-bare-repository", "--show-toplevel")
    lines = out.decode(errors="surrogateescape").splitlines()
    if lines and lines[0] == "true":
        raise UsageError(f"--repo {path} is a bare repository.", hint="Clone it and name the clone.")
    if code != 0 and b"dubious ownership" in err:
        raise UsageError(f"--repo {path} belongs to another user, so git will not open it.", hint="Clone it first.")
    if code != 0 or len(lines) < 2:
        hint = "Make one with `git init` and a first commit, or use --out to build something new."
        raise UsageError(f"--repo {path} is not a git repository.", hint=hint)
    return Path(lines[1])


async def _refuse_unfinished(git: Git, folder: Path) -> None:
    for name, what in _UNFINISHED.items():
        if (folder / await git.text("rev-parse", "--git-path", name)).exists():
            hint = "Finish or abort it first; `git status` says how."
            raise UsageError(f"{folder} is in the middle of {what}; nothing was done.", hint=hint)


async def _refuse_other_hash(git: Git, folder: Path) -> None:
    kind = await git.text("rev-parse", "--show-object-format")
    if kind != "sha1":
        raise UsageError(
            f"{folder} uses {kind} objects, which snapshots cannot hold yet.", hint="Use a sha1 repository."
        )
