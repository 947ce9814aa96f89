"""The MCP server `filesystem`: the tools of the reference server, by name and arguments, over `services.folders`."""

from __future__ import annotations

import base64
import json
import mimetypes
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp_types import AudioContent, BlobResourceContents, CallToolResult, EmbeddedResource, ImageContent
from pydantic import BaseModel, Field

from treadle.errors import TreadleError, UsageError
from treadle.mcp.server import new_server, offer, reply
from treadle.ports.sandbox import MIB, Entry
from treadle.services.folders import Folders

_INSTRUCTIONS = (
    "Works on files in the allowed folders; list_allowed_directories names them. Paths are absolute, or relative to "
    "the first of them. Symbolic links are not followed, and .git is left alone."
)
_MARKS = {"folder": "[DIR]", "file": "[FILE]", "link": "[LINK]", "other": "[OTHER]"}
_KINDS = {"folder": "directory", "file": "file", "link": "link", "other": "other"}
_AT_ONCE_BYTES = 16 * MIB

PathIn = Annotated[str, Field(description="A path, absolute or relative to the first allowed folder.")]
Excluded = Annotated[Sequence[str], Field(description="Globs of what to leave out, such as node_modules or **/*.pyc.")]
Lines = Annotated[int | None, Field(ge=1)]


class Edit(BaseModel):
    """One piece of a file, and what is to stand there instead."""

    oldText: str = Field(description="What stands there now; enough of it to fit one place only.")
    newText: str = Field(description="What is to stand there.")


class Text(BaseModel):
    """What the tool says."""

    content: str


class Media(BaseModel):
    """Files as blocks of content."""

    content: list[dict[str, Any]]


TextReply = Annotated[CallToolResult, Text]


class Filesystem:
    """The tools, each a method. What they may touch is the matter of `Folders`."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    async def read_text_file(self, path: PathIn, head: Lines = None, tail: Lines = None) -> TextReply:
        """Read a text file, or only its first lines (head) or its last lines (tail)."""
        return reply(await self._folders.read_text(path, head=head, tail=tail))

    async def read_file(self, path: PathIn, head: Lines = None, tail: Lines = None) -> TextReply:
        """Read a text file. Deprecated: use read_text_file."""
        return await self.read_text_file(path, head, tail)

    async def read_media_file(self, path: PathIn) -> Annotated[CallToolResult, Media]:
        """Read an image, a sound or another file that is no text, as base64 with its media type."""
        data = await self._folders.read(path)
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        text = base64.b64encode(data).decode()
        sort = kind.partition("/")[0]
        structured = {"type": sort if sort in ("image", "audio") else "blob", "data": text, "mimeType": kind}
        return reply("", {"content": [structured]}, _block(self._folders.place(path).shown, text, kind))

    async def read_multiple_files(
        self, paths: Annotated[list[str], Field(min_length=1, max_length=1000, description="Paths of text files.")]
    ) -> TextReply:
        """Read several text files. One that cannot be read is told of in its place, and stops no other."""
        parts, room = [], _AT_ONCE_BYTES
        for path in paths:
            try:
                text = await self._folders.read_text(path)
                if len(text) > room:
                    raise UsageError(f"{path!r} was not read: these files are too long together.")
                room -= len(text)
                parts.append(f"{path}:\n{text}\n")
            except TreadleError as error:
                parts.append(f"{path}: Error - {error.with_hint}")
        return reply("\n---\n".join(parts))

    async def write_file(
        self, path: PathIn, content: Annotated[str, Field(description="All that the file is to hold.")]
    ) -> TextReply:
        """Write a whole text file: a new one, or instead of what is there. Folders are made as needed."""
        return reply(f"Successfully wrote to {await self._folders.write(path, content)}")

    async def edit_file(
        self,
        path: PathIn,
        edits: Annotated[
            list[Edit], Field(min_length=1, description="Made one after the other: all of them, or none.")
        ],
        dryRun: Annotated[bool, Field(description="Only show the diff.")] = False,
    ) -> TextReply:
        """Replace pieces of a text file and return the diff.

        oldText is looked for as it stands, then with other white space. What fits no place, or several, is refused.
        """
        pairs = [(edit.oldText, edit.newText) for edit in edits]
        return reply(await self._folders.edit(path, pairs, dry_run=dryRun))

    async def create_directory(self, path: PathIn) -> TextReply:
        """Make a folder, and those that it lies in. It does no harm if it is there."""
        return reply(f"Successfully created directory {await self._folders.make_folder(path)}")

    async def list_directory(self, path: PathIn) -> TextReply:
        """List a folder: a line for each entry, marked [FILE], [DIR] or [LINK]."""
        return reply("\n".join(f"{_MARKS[entry.kind]} {entry.path}" for entry in await self._folders.entries(path)))

    async def list_directory_with_sizes(self, path: PathIn, sortBy: Literal["name", "size"] = "name") -> TextReply:
        """List a folder with the sizes of its files, by name or the largest first."""
        entries = await self._folders.entries(path)
        if sortBy == "size":
            entries.sort(key=lambda entry: (-entry.size, entry.path))
        files = [entry for entry in entries if entry.kind == "file"]
        rows = [f"{_MARKS[entry.kind]} {entry.path:<30} {_size(entry)}".rstrip() for entry in entries]
        total = f"Total: {len(files)} files, {sum(entry.kind == 'folder' for entry in entries)} directories"
        return reply("\n".join([*rows, "", total, f"Combined size: {_bytes(sum(entry.size for entry in files))}"]))

    async def directory_tree(self, path: PathIn, excludePatterns: Excluded = ()) -> TextReply:
        """Show all that is below a folder, as JSON: name, type, and the children of a directory."""
        return reply(json.dumps(_tree(await self._folders.below(path, excludePatterns)), indent=2))

    async def move_file(
        self,
        source: PathIn,
        destination: Annotated[str, Field(description="The new path; nothing may be there yet.")],
    ) -> TextReply:
        """Move or rename a file or a folder. Nothing is ever replaced."""
        old, new = await self._folders.move(source, destination)
        return reply(f"Successfully moved {old} to {new}")

    async def search_files(
        self,
        path: PathIn,
        pattern: Annotated[str, Field(max_length=1000, description="A glob: *.py here, **/*.py in all folders below.")],
        excludePatterns: Excluded = (),
    ) -> TextReply:
        """Find files and folders by a glob over their paths relative to the folder; returns absolute paths."""
        found = await self._folders.search(path, pattern, excludePatterns)
        return reply("\n".join(found) or "No matches found")

    async def get_file_info(self, path: PathIn) -> TextReply:
        """Tell size, times, kind and permissions of a file or a folder."""
        facts = await self._folders.facts(path)
        told = {
            "size": facts.size,
            "created": _moment(facts.created),
            "modified": _moment(facts.modified),
            "accessed": _moment(facts.accessed),
            "isDirectory": str(facts.kind == "folder").lower(),
            "isFile": str(facts.kind == "file").lower(),
            "permissions": f"{facts.mode:o}",
        }
        return reply("\n".join(f"{key}: {value}" for key, value in told.items()))

    async def list_allowed_directories(self) -> TextReply:
        """List the folders that the other tools may touch, with all that they hold."""
        return reply("\n".join(["Allowed directories:", *map(str, self._folders.roots)]))


def filesystem_server(folders: Folders) -> MCPServer[Any]:
    """Make the server over these folders."""
    server = new_server("filesystem", _INSTRUCTIONS)
    tools = Filesystem(folders)
    for function, title in (
        (tools.read_file, "Read a file (deprecated)"),
        (tools.read_text_file, "Read a text file"),
        (tools.read_media_file, "Read an image or a sound"),
        (tools.read_multiple_files, "Read several files"),
        (tools.list_directory, "List a folder"),
        (tools.list_directory_with_sizes, "List a folder with sizes"),
        (tools.directory_tree, "Show a folder as a tree"),
        (tools.search_files, "Find files"),
        (tools.get_file_info, "Look at a file's properties"),
        (tools.list_allowed_directories, "List the allowed folders"),
    ):
        offer(server, function, title=title, reads=True)
    offer(server, tools.create_directory, title="Make a folder", repeatable=True)
    offer(server, tools.write_file, title="Write a file", destroys=True, repeatable=True)
    offer(server, tools.edit_file, title="Edit a file", destroys=True)
    offer(server, tools.move_file, title="Move a file", destroys=True)
    return server


def _block(path: str, data: str, kind: str) -> ImageContent | AudioContent | EmbeddedResource:
    if kind.startswith("image/"):
        return ImageContent(data=data, mime_type=kind)
    if kind.startswith("audio/"):
        return AudioContent(data=data, mime_type=kind)
    return EmbeddedResource(resource=BlobResourceContents(uri=Path(path).as_uri(), blob=data, mime_type=kind))


def _tree(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Nest entries that come a folder before what it holds."""
    top: list[dict[str, Any]] = []
    inside = {"": top}
    for entry in entries:
        folder, _, name = entry.path.rpartition("/")
        node: dict[str, Any] = {"name": name, "type": _KINDS[entry.kind]}
        if entry.kind == "folder":
            node["children"] = inside[entry.path] = []
        inside[folder].append(node)
    return top


def _size(entry: Entry) -> str:
    return _bytes(entry.size) if entry.kind == "file" else ""


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1024
    raise AssertionError


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
