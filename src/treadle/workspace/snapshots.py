"""Snapshots of folders: git trees in a bare object store that lies outside them.

A tree that `take` returned stays readable until its run is forgotten, whatever becomes of the folder. What a run's
result becomes (a repository, a branch) is not decided here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from treadle.errors import NotFound, TreadleError
from treadle.removal import remove_tree
from treadle.workspace.git import Git, split_fields

# A repository's .gitattributes must not change a byte on the way in or out; info/attributes outranks it.
_ATTRIBUTES = "* -text -eol -ident -filter -working-tree-encoding\n"
_EXCLUDES = "__pycache__/\n*.pyc\n.pytest_cache/\n.mypy_cache/\n.ruff_cache/\n"


class Snapshots:
    """A bare object store for the trees of many runs. Several processes may use one store at the same time."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self.git = Git(git_dir=git_dir)

    async def open(self) -> None:
        """Make the store if it is not there yet: whole or not at all, and only once when several processes do it."""
        if self.git_dir.exists():
            return
        self.git_dir.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=self.git_dir.parent) as made:
            store = Path(made) / "store"
            await Git(cwd=self.git_dir.parent).run("init", "--quiet", "--bare", "--template=", str(store))
            (store / "info").mkdir(exist_ok=True)
            (store / "info" / "exclude").write_text(_EXCLUDES)
            (store / "info" / "attributes").write_text(_ATTRIBUTES)
            try:
                store.rename(self.git_dir)
            except OSError:
                if not self.git_dir.exists():
                    raise

    async def take(
        self,
        folder: Path,
        run_id: str,
        *,
        since: str | None = None,
        also: Iterable[str] = (),
        only: Iterable[str] | None = None,
    ) -> str:
        """Store the folder's files and return the tree's name. Idempotent: equal files give an equal name.

        Files that the folder's .gitignore names are left out unless the tree `since` has them or `also` names them.
        Empty folders and nested repositories are left out. On disk before it returns.

        Args:
            only: Paths to look at; all others stay as the tree `since` has them. None: the whole folder.
        """
        async with self._index(folder) as index:
            git = Git(git_dir=self.git_dir, work_tree=folder, index=index, cwd=folder)
            # -i: what was done to the files since the last snapshot must not stand in the way.
            await git.run("read-tree", *(["-i", "-m", since] if since else ["--empty"]))
            if only is None:
                await self._add_all(git, folder)
            for path in only or ():  # one that is neither in the tree nor in the folder matches nothing
                await git.attempt("--literal-pathspecs", "add", "--all", "--force", "--", path)
            for path in also:
                await git.run("--literal-pathspecs", "add", "--force", "--", path)
            await self._drop_nested(git, since)
            tree = await git.text("write-tree")
        await self.protect(tree, run_id, since)
        return tree

    async def need(self, tree: str) -> None:
        """Have a tree here, if it can be had from elsewhere. In this class it cannot: reading tells what is missing.

        Everything that reads a tree calls this first.
        """

    async def restore(self, tree: str, folder: Path) -> None:
        """Make the folder hold exactly the files of `tree`, and nothing else. Idempotent; cheap if it already does.

        Raises:
            NotFound: The store has no such tree. The folder was not touched.
        """
        wanted = await self.files(tree)
        folder.mkdir(parents=True, exist_ok=True)
        _remove_others(folder, wanted)
        async with self._index(folder) as index:
            git = Git(git_dir=self.git_dir, work_tree=folder, index=index, cwd=folder)
            await git.run("read-tree", "-i", "-m", tree)
            await git.run("checkout-index", "--all", "--force", "--index")

    async def files(self, tree: str) -> list[str]:
        """List the paths in a tree, sorted. Raises NotFound if the store has no such tree."""
        await self.need(tree)
        try:
            return sorted(split_fields(await self.git.run("ls-tree", "-r", "-z", "--name-only", tree)))
        except TreadleError as error:
            raise NotFound(f"The snapshot store has no tree {tree!r}.") from error

    async def read(self, tree: str, path: str) -> str | None:
        """Return the text of one file of a tree, or None if the tree has no such file."""
        await self.need(tree)
        code, out, _ = await self.git.attempt("cat-file", "blob", f"{tree}:{path}")
        return out.decode(errors="replace") if code == 0 else None

    async def texts(self, tree: str, *, max_bytes: int = 200_000) -> dict[str, str]:
        """Return all text files of a tree by path. Larger ones, binary ones, links and repositories are left out."""
        await self.need(tree)
        listed = split_fields(await self.git.run("ls-tree", "-r", "-l", "-z", tree))
        found = [(line.partition("\t")[2], *line.partition("\t")[0].split()) for line in listed]
        wanted = [(path, name) for path, mode, _, name, size in found if mode[:3] == "100" and int(size) <= max_bytes]
        asked = "".join(f"{name}\n" for _, name in wanted).encode()
        out = await self.git.run("cat-file", "--batch", stdin=asked) if wanted else b""
        texts, at = {}, 0
        for path, _ in wanted:
            begin = out.index(b"\n", at) + 1
            at = begin + int(out[at : begin - 1].split()[2]) + 1
            content = out[begin : at - 1]
            if b"\0" not in content:
                texts[path] = content.decode(errors="surrogateescape")
        return texts

    async def read_bytes(self, tree: str, path: str) -> bytes:
        """Return one file of a tree. Raises NotFound if the tree has no such file."""
        await self.need(tree)
        code, out, _ = await self.git.attempt("cat-file", "blob", f"{tree}:{path}")
        if code != 0:
            raise NotFound(f"The tree {tree[:10]} has no file {path!r}.")
        return out

    async def diff(self, before: str, after: str) -> str:
        """Return the unified diff between two trees."""
        await self.need(before)
        await self.need(after)
        return await self.git.text("diff-tree", "-r", "-p", "--no-ext-diff", "--no-textconv", before, after)

    async def changed(self, before: str, after: str) -> list[str]:
        """List the paths that differ between two trees."""
        await self.need(before)
        await self.need(after)
        return list(split_fields(await self.git.run("diff-tree", "-r", "-z", "--name-only", before, after)))

    async def empty_tree(self) -> str:
        """Return the name of the tree with no files."""
        return await self.git.text("mktree")

    async def protect(self, tree: str, run_id: str, since: str | None = None) -> None:
        """Keep a tree from ever being pruned while its run is known. Idempotent. It was made from the tree `since`.

        Everything that makes a tree calls this before it says the tree's name.
        """
        await self.keep(f"refs/treadle/{run_id}/{tree}", tree)

    async def keep(self, ref: str, name: str) -> str:
        """Let a ref, or one of a similar name, keep an object; returns the ref."""
        code, _, _ = await self.git.attempt("update-ref", ref, name)
        if code != 0:
            # A process killed in the middle leaves a lock of that name for good; another name does as well.
            ref = f"{ref}-{uuid.uuid4().hex[:8]}"
            await self.git.run("update-ref", ref, name)
        return ref

    async def forget(self, run_id: str) -> None:
        """Let go of all trees, commits and branches of a run. Idempotent."""
        places = (f"refs/treadle/{run_id}/", f"refs/heads/treadle/{run_id}/")
        refs = await self.git.text("for-each-ref", "--format=delete %(refname)", *places)
        if refs:
            await self.git.run("update-ref", "--stdin", stdin=refs.encode() + b"\n")

    def forget_folder(self, folder: Path) -> None:
        """Let go of what is kept about a folder that is not used any more. Idempotent."""
        self._kept_index(folder).unlink(missing_ok=True)

    def _kept_index(self, folder: Path) -> Path:
        return self.git_dir / "treadle" / f"{uuid.uuid5(uuid.NAMESPACE_URL, str(folder.absolute())).hex}.index"

    async def _add_all(self, git: Git, folder: Path) -> None:
        code, _, _ = await git.attempt("add", "--all", "--", ".")
        if code == 0:
            return
        # A pipe in the place of a file, for one, cannot be stored: the file is gone, and the pipe is left out.
        for path in await asyncio.to_thread(_unstorable, folder):
            await git.run("update-index", "--force-remove", "--", path)
        await git.run("add", "--all", "--", ".")

    async def _drop_nested(self, git: Git, since: str | None) -> None:
        """Take repositories that appeared inside the folder out of the index: their files would not be stored."""
        known = set(await self._links(self.git, since)) if since else set()
        staged = split_fields(await git.run("ls-files", "--stage", "-z"))
        nested = [line.partition("\t")[2] for line in staged if line.startswith("160000 ")]
        for path in set(nested) - known:
            await git.run("update-index", "--force-remove", "--", path)

    async def _links(self, git: Git, tree: str) -> list[str]:
        lines = split_fields(await git.run("ls-tree", "-r", "-z", tree))
        return [line.partition("\t")[2] for line in lines if line.startswith("160000 ")]

    @asynccontextmanager
    async def _index(self, folder: Path) -> AsyncIterator[Path]:
        """Lend a private copy of the folder's index, kept afterwards for its file times.

        A copy, because a process killed while it holds the index leaves a lock that would stop all later ones.
        """
        kept = self._kept_index(folder)
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="index-") as scratch:
            index = Path(scratch) / "index"
            if _intact(kept):
                shutil.copy2(kept, index)  # its time tells git which file times to doubt
            yield index
            if index.exists():
                os.replace(index, kept)


def _remove_others(folder: Path, wanted: list[str]) -> None:
    """Delete what `wanted` does not name, without following symbolic links."""
    files = set(wanted)
    _prune(folder, "", files, {parent for path in files for parent in _parents(path)})


def _prune(folder: Path, prefix: str, files: set[str], folders: set[str]) -> None:
    folder.chmod(folder.stat().st_mode | stat.S_IRWXU)  # untrusted code may have locked it
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        name = prefix + entry.name
        if not entry.is_dir(follow_symlinks=False):
            if name not in files:
                os.unlink(entry.path)
            continue
        if name in folders:
            _prune(Path(entry.path), name + "/", files, folders)
        elif name not in files:  # a repository that the tree names is as good as a file
            remove_tree(entry.path)


def _unstorable(folder: Path) -> list[str]:
    """Paths of pipes, sockets and devices."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with suppress(OSError):
                mode = os.lstat(path).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    found.append(os.path.relpath(path, folder))
    return found


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _intact(index: Path) -> bool:
    """Tell whether an index file ends with the checksum of the rest; a power cut can leave it cut short."""
    try:
        content = index.read_bytes()
    except FileNotFoundError:
        return False
    return len(content) > 20 and hashlib.sha1(content[:-20], usedforsecurity=False).digest() == content[-20:]
