"""Folders of the user's that clients may work in, by absolute path: looking, writing, editing, finding, moving."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from treadle.domain.globs import fits, is_excluded
from treadle.domain.paths import MAX_DEPTH
from treadle.errors import NotFound, Refused, TreadleError, UsageError
from treadle.ports.sandbox import MIB, Entry
from treadle.sandboxes.folder import Facts, FolderFiles
from treadle.tools.edits import Change, make_changes
from treadle.tools.text import FileText, decode

LARGEST = 8 * MIB
"""Bytes of a file that is read or edited as a whole."""
_LARGEST_SCANNED = 64 * MIB
_MOST = 10_000
"""Entries that are told: of a folder, of all below one, or found."""
_MOST_SEEN = 500_000
"""Entries that a search looks at."""
_ALLOWED = "Paths lead to regular files and folders in the allowed folders: no '..', no symbolic link, no '.git'."
_SEE = "list_directory shows what there is."


@dataclass(frozen=True, slots=True)
class Place:
    """A path that a client gave, as what it means here."""

    files: FolderFiles
    path: str
    """Relative to the allowed folder; `.` is that folder itself."""
    shown: str
    """Absolute."""


class Folders:
    """The allowed folders, and nothing else: no `..`, no symbolic link below them is followed, no `.git` is touched."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Raises UsageError if there is none, or one is no folder."""
        if not roots:
            raise UsageError("No folder is allowed; nothing is served.", hint="Name one or more folders.")
        for root in roots:
            if not root.is_dir():
                raise UsageError(f"{str(root)!r} is no folder; nothing is served.", hint="Make it first.")
        self.roots = tuple(dict.fromkeys(root.resolve() for root in roots))
        named = {**{str(root.absolute()): root.resolve() for root in roots}, **{str(root): root for root in self.roots}}
        # The longest first: an allowed folder may lie in another one.
        self._named = sorted(named.items(), key=lambda item: -len(item[0]))
        self._files = {root: FolderFiles(root) for root in self.roots}

    def place(self, path: str) -> Place:
        """What a path means: an absolute one, or one relative to the first allowed folder.

        Raises:
            Refused: It lies in none of the allowed folders.
        """
        given = path.strip()
        if not given.startswith("/"):
            return self._place(self.roots[0], given)
        for name, root in self._named:
            if given == name or given.startswith(name.rstrip("/") + "/"):
                return self._place(root, given[len(name.rstrip("/")) :].strip("/"))
        raise Refused(
            f"{path[:300]!r} lies in none of the allowed folders.",
            hint=f"They are: {', '.join(map(str, self.roots))}.",
        )

    async def read(self, path: str, *, limit: int = LARGEST) -> bytes:
        """The bytes of a file. Raises Refused for one that has more than `limit`, NotFound."""
        place = self.place(path)
        with _told(place):
            found = await place.files.read(place.path, limit=limit)
        if found.size > len(found.data):
            raise Refused(
                f"{place.shown!r} has {found.size} bytes, and no more than {limit} are read.",
                hint="Read its beginning or its end: head or tail.",
            )
        return found.data

    async def read_text(self, path: str, *, head: int | None = None, tail: int | None = None) -> str:
        """The text of a file, or its first or last lines. Raises as `read`; Refused if it is no text."""
        if head is not None and tail is not None:
            raise UsageError("head and tail are both given; nothing was read.", hint="Give one of them.")
        text = await self._text(path, limit=LARGEST if head is None and tail is None else _LARGEST_SCANNED)
        lines = re.findall(r"[^\n]*\n|[^\n]+", text.raw)
        if head is not None:
            return "".join(lines[:head])
        if tail is not None:
            return "".join(lines[len(lines) - min(tail, len(lines)) :])
        return text.raw

    async def write(self, path: str, text: str) -> str:
        """Make a file hold this text; folders are made as needed. Returns its absolute path."""
        place = self.place(path)
        with _told(place):
            await place.files.write(place.path, text.encode(errors="replace"))
        return place.shown

    async def edit(self, path: str, edits: Sequence[tuple[str, str]], *, dry_run: bool) -> str:
        """Replace pieces of a text file, all or none, and return the diff; a dry run only returns it.

        Raises:
            Refused: A piece fits no place, or more than one; the message shows the candidates.
        """
        place = self.place(path)
        before = await self._text(path)
        try:
            # A large file takes a while.
            after, _ = await asyncio.to_thread(make_changes, before, [Change(old, new) for old, new in edits])
        except Refused as error:
            hint = "Quote in oldText, as it stands, enough to fit one place only."
            raise Refused(f"{place.shown}: {error}", hint=hint) from None
        diff = await asyncio.to_thread(_diff, before, after, place.path)
        if not dry_run and after != before:
            with _told(place):
                await place.files.write(place.path, after.encode())
        return diff

    async def make_folder(self, path: str) -> str:
        """Make a folder, and those that it lies in. Returns its absolute path."""
        place = self.place(path)
        with _told(place):
            await place.files.make_folder(place.path)
        return place.shown

    async def move(self, source: str, destination: str) -> tuple[str, str]:
        """Give a file or a folder another name. Raises Refused if something has it. Returns both absolute paths."""
        old, new = self.place(source), self.place(destination)
        with _told(old, new):
            await old.files.move(old.path, new.files, new.path)
        return old.shown, new.shown

    async def facts(self, path: str) -> Facts:
        """What is known of a file or a folder."""
        place = self.place(path)
        with _told(place):
            return await place.files.facts(place.path)

    async def entries(self, path: str) -> list[Entry]:
        """What a folder holds, by name; paths are relative to it. Raises Refused if that is too much."""
        place = self.place(path)
        with _told(place):
            listing = await place.files.list(place.path, limit=_MOST)
        if not listing.is_whole:
            raise _too_much(place)
        return [Entry(entry.path.rpartition("/")[2], entry.kind, entry.size) for entry in listing.entries]

    async def below(self, path: str, exclude: Sequence[str] = ()) -> list[Entry]:
        """Everything below a folder, a folder before what it holds; paths are relative to it.

        Args:
            exclude: Globs; what has one of these forms is left out with all that it holds.
        """
        return await self._below(self.place(path), exclude, None, most_seen=_MOST)

    async def search(self, path: str, pattern: str, exclude: Sequence[str] = ()) -> list[str]:
        """Absolute paths of files and folders below a folder whose path relative to it has the form of a glob."""
        place = self.place(path)
        found = await self._below(place, exclude, pattern, most_seen=_MOST_SEEN)
        return [f"{place.shown.rstrip('/')}/{entry.path}" for entry in found]

    def _place(self, root: Path, path: str) -> Place:
        relative = "/".join(part for part in path.split("/") if part not in ("", ".")) or "."
        return Place(self._files[root], relative, str(root) if relative == "." else f"{root}/{relative}")

    async def _text(self, path: str, *, limit: int = LARGEST) -> FileText:
        data = await self.read(path, limit=limit)
        return await asyncio.to_thread(decode, data, self.place(path).shown)

    async def _below(self, top: Place, exclude: Sequence[str], pattern: str | None, *, most_seen: int) -> list[Entry]:
        found, seen = [], 0
        async for entry in self._walk(top, list(exclude)):
            seen += 1
            if pattern is None or fits(entry.path, pattern):
                found.append(entry)
            if seen > most_seen or len(found) > _MOST:
                raise _too_much(top)
        return found

    async def _walk(self, top: Place, exclude: list[str]) -> AsyncIterator[Entry]:
        """Folder by folder, so that nothing below an excluded one is looked at."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            inner = "/".join(part for part in (top.path, folder) if part not in ("", ".")) or "."
            try:
                with _told(top):
                    listing = await top.files.list(inner, limit=_MOST + 1)
            except (Refused, NotFound):
                if not folder:
                    raise
                continue  # it vanished, or may not be entered
            folders = []
            for entry in listing.entries:
                path = "/".join(part for part in (folder, entry.path.rpartition("/")[2]) if part)
                if is_excluded(path, exclude):
                    continue
                yield Entry(path, entry.kind, entry.size)
                if entry.kind == "folder" and path.count("/") < MAX_DEPTH:
                    folders.append(path)
            waiting += reversed(folders)


def _diff(before: FileText, after: FileText, path: str) -> str:
    old, new = before.text.splitlines(keepends=True), after.text.splitlines(keepends=True)
    told = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in told)


def _too_much(place: Place) -> Refused:
    hint = "Name a folder in it, or exclude some."
    return Refused(f"{place.shown!r} holds too many files and folders to be told of.", hint=hint)


@contextmanager
def _told(*places: Place) -> Iterator[None]:
    """Errors with the paths that a client knows, and hints that it can use."""

    def absolute(error: TreadleError) -> str:
        text = str(error).replace(" in the workspace", "").replace(" leaves the workspace", " leaves its folder")
        for place in places:
            text = text.replace(repr(place.path), repr(place.shown))
        return text

    try:
        yield
    except NotFound as error:
        raise NotFound(absolute(error), hint=_SEE) from None
    except Refused as error:
        is_ours = not any(word in error.hint for word in ("ls_dir", "workspace"))
        raise Refused(absolute(error), hint=error.hint if is_ours else _ALLOWED) from None
