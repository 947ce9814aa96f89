"""Three-way merges of two commits of a snapshot store.

`git merge` does it in a folder that lives for one call. That way works with every git that Treadle does (`git
merge-tree --write-tree` came with 2.38), with renames and with several common ancestors, and nothing that a
repository says (hooks, attributes, merge drivers, settings) can bend it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from treadle.domain.paths import clean_path
from treadle.errors import NotFound, TreadleError
from treadle.workspace.git import NO_OBJECT, Git, Identity, split_fields
from treadle.workspace.snapshots import Snapshots

ConflictKind = Literal["content", "binary", "add/add", "modify/delete", "rename", "type"]
"""`content`: both sides changed the same lines. `rename`: both renamed it, or a file stands where the other side has a
folder. `type`: a file on one side, a link or a submodule on the other."""

MARKER_SIZE = 27
"""Characters of a conflict marker: more than any file is likely to have at the start of a line."""
_ATTRIBUTES = f"* -text -eol -ident -filter -working-tree-encoding !merge conflict-marker-size={MARKER_SIZE}\n"
_SETTINGS = ("merge.conflictStyle=diff3", "merge.renames=true", "merge.directoryRenames=true", "rerere.enabled=false")
_MESSAGE = re.compile(r"^CONFLICT \((?P<kind>[^)]*)\): (?P<said>.*)$", re.MULTILINE)
_FILE_MODES = ("100644", "100755")
_MAX_TEXT_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class FileConflict:
    """One path that both sides changed, so that git could not say what is meant."""

    path: str
    kind: ConflictKind
    base: str | None = None
    """Text of the file before; None: it was not there, or is not text."""
    ours: str | None = None
    theirs: str | None = None
    text: str = ""
    """Both versions with git's markers, the base between them; empty where there is no such text."""
    said: str = ""
    """What git says about it."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What became of a merge. No commit was made."""

    ours: str
    theirs: str
    tree: str
    """The merged files. Where there are conflicts they hold git's markers, or the version that was kept."""
    conflicts: tuple[FileConflict, ...] = field(default=())

    @property
    def is_clean(self) -> bool:
        return not self.conflicts


async def merge(snapshots: Snapshots, ours: str, theirs: str, run_id: str) -> Merge:
    """Merge two commits of the store. The same commits give the same result; nothing but objects is written.

    Raises:
        NotFound: The store has no such commit.
    """
    tree, other = [await _tree_of(snapshots, commit) for commit in (ours, theirs)]
    if tree == other or await _is_part(snapshots, theirs, ours):
        return Merge(ours, theirs, tree)
    if await _is_part(snapshots, ours, theirs):
        return Merge(ours, theirs, other)
    async with _borrowed(snapshots) as git:
        await git.run("update-ref", "--no-deref", "HEAD", ours)
        await git.run("reset", "--quiet", "--hard", ours)
        settings = [word for setting in _SETTINGS for word in ("-c", setting)]
        how = ("--no-commit", "--no-ff", "--no-stat", "--quiet", "--allow-unrelated-histories")
        code, out, err = await git.attempt(*settings, "merge", *how, theirs, env=_IDENTITY)
        if code not in (0, 1):
            said = (err or out).decode(errors="replace").strip().splitlines() or [f"exit code {code}"]
            raise TreadleError(f"git merge failed: {said[-1]}")
        stages = _stages(await git.run("ls-files", "--unmerged", "-z"))
        await git.run("add", "--all", "--force", "--", ".")
        merged = await git.text("write-tree")
    await snapshots.protect(merged, run_id, tree)
    messages = _messages(out.decode(errors="surrogateescape"))
    found = [await _conflict(snapshots, merged, path, sides, messages) for path, sides in sorted(stages.items())]
    return Merge(ours, theirs, merged, tuple(found))


async def replaced(snapshots: Snapshots, tree: str, files: Mapping[str, str | None], run_id: str) -> str:
    """Return a tree like `tree` with some files put in their places. None removes a file. Modes stay. Idempotent.

    Raises:
        Refused: A path leaves the tree.
    """
    await snapshots.need(tree)
    lines = []
    for path, text in files.items():
        clean_path(path)
        mode = (await _entry(snapshots, tree, path))[0]
        name = NO_OBJECT
        if text is not None:
            said = text.encode(errors="surrogateescape")
            name = await snapshots.git.text("hash-object", "-w", "-t", "blob", "--stdin", stdin=said)
        lines.append(f"{mode if text is not None else 0} {name}\t{path}\0")
    with tempfile.TemporaryDirectory(dir=snapshots.git_dir, prefix="index-") as scratch:
        git = Git(git_dir=snapshots.git_dir, index=Path(scratch) / "index")
        await git.run("read-tree", tree)
        await git.run("update-index", "-z", "--index-info", stdin="".join(lines).encode(errors="surrogateescape"))
        made = await git.text("write-tree")
    await snapshots.protect(made, run_id, tree)
    return made


_Stages = dict[int, tuple[str, str]]
"""By git's number of the side (1: base, 2: ours, 3: theirs), the mode and the object of a file."""
_TREADLE = Identity()
_IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", _TREADLE.name), ("EMAIL", _TREADLE.email))
}


async def _tree_of(snapshots: Snapshots, commit: str) -> str:
    code, out, _ = await snapshots.git.attempt("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}")
    if code != 0:
        raise NotFound(f"The snapshot store has no commit {commit!r}.")
    return out.decode().strip()


async def _is_part(snapshots: Snapshots, earlier: str, commit: str) -> bool:
    code, _, _ = await snapshots.git.attempt("merge-base", "--is-ancestor", earlier, commit)
    return code == 0


@asynccontextmanager
async def _borrowed(snapshots: Snapshots) -> AsyncIterator[Git]:
    """Lend a repository of its own whose objects are those of the store, with an empty work tree."""
    with tempfile.TemporaryDirectory(dir=snapshots.git_dir, prefix="merge-", ignore_cleanup_errors=True) as scratch:
        git_dir, folder = Path(scratch) / "git", Path(scratch) / "files"
        folder.mkdir()
        await Git(cwd=folder).run("init", "--quiet", "--bare", "--template=", str(git_dir))
        (git_dir / "info").mkdir(exist_ok=True)
        (git_dir / "info" / "attributes").write_text(_ATTRIBUTES)
        objects = snapshots.git_dir / "objects"
        yield Git(git_dir=git_dir, work_tree=folder, index=git_dir / "index", cwd=folder, objects=objects)


def _stages(out: bytes) -> dict[str, _Stages]:
    found: dict[str, _Stages] = {}
    for line in split_fields(out):
        about, _, path = line.partition("\t")
        mode, name, stage = about.split()
        found.setdefault(path, {})[int(stage)] = (mode, name)
    return found


def _messages(out: str) -> list[tuple[str, str]]:
    return [(match["kind"], match["said"]) for match in _MESSAGE.finditer(out)]


async def _conflict(
    snapshots: Snapshots, merged: str, path: str, sides: _Stages, messages: list[tuple[str, str]]
) -> FileConflict:
    about = [(kind, said) for kind, said in messages if _names(said, path)]
    texts = {stage: await _text(snapshots, *sides[stage]) for stage in sides}
    kind = _kind(sides, texts, " ".join(kind for kind, _ in about))
    text = await _text(snapshots, *(await _entry(snapshots, merged, path))) if kind in ("content", "add/add") else ""
    return FileConflict(
        path, kind, texts.get(1), texts.get(2), texts.get(3), text or "", "; ".join(said for _, said in about)
    )


def _names(said: str, path: str) -> bool:
    """Whether a message is about a path; `path~branch` is how git sets one of two versions aside."""
    names = "|".join(re.escape(name) for name in {path, path.rpartition("~")[0] or path})
    return re.search(rf"(?:^|\s)(?:{names})(?:$|[\s:;,.~])", said) is not None


def _kind(sides: _Stages, texts: Mapping[int, str | None], said: str) -> ConflictKind:
    if any(mode not in _FILE_MODES for mode, _ in sides.values()):
        return "type"
    if "rename/rename" in said or "rename/add" in said or "file/directory" in said or "directory rename" in said:
        return "rename"
    if "distinct" in said:
        return "type"
    if 2 not in sides or 3 not in sides:
        return "modify/delete" if 1 in sides and len(sides) == 2 else "rename"
    if any(text is None for text in texts.values()):
        return "binary"
    return "content" if 1 in sides else "add/add"


async def _entry(snapshots: Snapshots, tree: str, path: str) -> tuple[str, str]:
    """Mode and object of a file; for one that is not there, the mode of a plain file and no object."""
    out = split_fields(await snapshots.git.run("--literal-pathspecs", "ls-tree", "-z", tree, "--", path))
    if not out:
        return _FILE_MODES[0], ""
    mode, _, name = out[0].partition("\t")[0].split()
    return mode, name


async def _text(snapshots: Snapshots, mode: str, name: str) -> str | None:
    if mode not in _FILE_MODES or not name:
        return None
    out = await snapshots.git.run("cat-file", "blob", name)
    if b"\0" in out or len(out) > _MAX_TEXT_BYTES:
        return None
    return out.decode(errors="surrogateescape")
