"""Which commit a line comes from, and what that commit says of itself. Reads only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from treadle.errors import NotFound, UsageError
from treadle.workspace.git import NO_OBJECT, Git, split_fields

_HEADER = re.compile(r"^(?P<commit>[0-9a-f]{40}) \d+ (?P<number>\d+)(?: \d+)?$")
_FORM = "%H%x00%s%x00%an%x00%ct%x00%P%x00%(trailers:only,unfold)"


@dataclass(frozen=True, slots=True)
class Origin:
    """A commit: who made it, and its trailers."""

    commit: str
    subject: str
    author: str
    when: int
    parents: tuple[str, ...] = ()
    trailers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlamedLine:
    number: int
    text: str
    commit: str
    """Empty: the line is in no commit yet."""


async def blame_lines(place: Path, first: int, last: int, rev: str = "") -> list[BlamedLine]:
    """Find the commit that each of some lines comes from, in the file as it lies there, or as a revision has it.

    Raises:
        UsageError: The file is in no repository, not known to git, or has no such lines.
    """
    git = _repository(place)
    code, out, err = await git.attempt(
        "blame", "--line-porcelain", "-M", "-L", f"{first},{last}", *([rev] if rev else []), "--", place.name
    )
    if code != 0:
        raise _refusal(place, first, rev, err.decode(errors="replace").strip())
    return _lines_of(out.decode(errors="replace"))


async def read_origin(place: Path, commit: str) -> Origin:
    """Read a commit of the repository in which a file or folder lies. Raises NotFound."""
    code, out, _ = await _repository(place).attempt("log", "-1", f"--format={_FORM}", commit, "--")
    if code != 0:
        raise NotFound(f"There is no commit {commit!r} in the repository of {place}.")
    return _origin(out.decode(errors="replace"))


async def read_origins(git: Git, tips: list[str]) -> list[Origin]:
    """Read all commits that lead to some, parents before children. Empty if there is no such repository or commit."""
    code, out, _ = await git.attempt("log", "-z", "--topo-order", "--reverse", f"--format=%x01{_FORM}", *tips, "--")
    return [_origin(said.rstrip("\0")) for said in out.decode(errors="replace").split("\1")[1:]] if code == 0 else []


async def changed_paths(git: Git, origin: Origin) -> list[str]:
    """List the paths that a commit changed; of a merge, those that are like neither side."""
    how = ["-c"] if len(origin.parents) > 1 else ["--root"]
    out = await git.run("diff-tree", "-r", "-z", "--no-commit-id", "--name-only", *how, origin.commit)
    return sorted(split_fields(out))


def _repository(place: Path) -> Git:
    folder = next(above for above in [place, *place.absolute().parents] if above.is_dir())
    return Git(cwd=folder)


def _refusal(place: Path, first: int, rev: str, said: str) -> UsageError:
    where = f"{place} in {rev}" if rev else str(place)
    if "not a git repository" in said:
        return UsageError(f"{place} is in no git repository, so nothing is known about its lines.")
    lines = re.search(r"has only (\d+) lines?", said)
    if lines:
        return UsageError(f"{where} has no line {first}; it has {lines[1]}.", hint="Lines are counted from 1.")
    if rev and ("bad revision" in said or "unknown revision" in said):
        return UsageError(f"There is no revision {rev!r} in the repository of {place}.", hint="See `git branch -a`.")
    if "no such path" in said or "no such file" in said.lower() or "cannot stat" in said.lower():
        return UsageError(f"git does not know {where}.", hint="Name a file that is committed, or a --rev that has it.")
    return UsageError(f"{where} cannot be looked at: {said.splitlines()[-1] if said else 'git says nothing'}")


def _lines_of(out: str) -> list[BlamedLine]:
    found = []
    commit, number = "", 0
    for line in out.split("\n"):
        header = _HEADER.match(line)
        if line.startswith("\t"):
            found.append(BlamedLine(number, line[1:], "" if commit == NO_OBJECT else commit))
        elif header:
            commit, number = header["commit"], int(header["number"])
    return found


def _origin(said: str) -> Origin:
    commit, subject, author, when, parents, trailers = said.split("\0", 5)
    pairs = (line.partition(": ") for line in trailers.strip("\0\n").splitlines())
    return Origin(
        commit, subject, author, int(when), tuple(parents.split()), {key: value for key, _, value in pairs if value}
    )
