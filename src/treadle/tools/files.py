"""Tools on the files of the workspace: read_file, write_file, edit_file, rm_file, ls_dir."""

from __future__ import annotations

import asyncio
import difflib
import re
from typing import Annotated

import msgspec

from treadle.errors import NotFound, Refused
from treadle.ports.sandbox import MIB, FileContent
from treadle.ports.tool import ToolContext, ToolResult
from treadle.tools.define import tool
from treadle.tools.edits import Change, make_changes
from treadle.tools.output import head_and_tail
from treadle.tools.places import missing, path_touched, place_of
from treadle.tools.text import FileText, decode

_LARGEST = 8 * MIB
_SHOWN_OF_DIFF = 2000
Changes = Annotated[list[Change], msgspec.Meta(min_length=1)]
Line = Annotated[int, msgspec.Meta(ge=1)]


@tool(effects="none")
async def read_file(path: str, *, start: Line = 1, lines: Line = 2000, context: ToolContext) -> ToolResult:
    """Read a text file.

    Args:
        path: The file, relative to the workspace.
        start: The first line to show; left out: 1.
        lines: How many lines to show.
    """
    place = place_of(path, context)
    text = (await read_text(place, context)).text
    if not text:
        return ToolResult(f"[{place} is empty]")
    every = _lines(text)
    if start > len(every):
        raise Refused(f"{place!r} has {len(every)} lines; there is no line {start}.", hint="Begin at an earlier one.")
    shown = _fitting(every[start - 1 : start - 1 + lines], context.shown - 200)
    last = start - 1 + len(shown)
    if start == 1 and last == len(every):
        return ToolResult("".join(shown))
    more = f"; start={last + 1} shows more" if last < len(every) else ""
    return ToolResult(f"[{place}: lines {start}-{last} of {len(every)}{more}]\n{''.join(shown)}")


@tool(effects="idempotent", resources=path_touched)
async def write_file(path: str, content: str, *, context: ToolContext) -> ToolResult:
    """Write a whole file: a new one, or instead of what is there. Folders are made as needed.

    Args:
        path: The file, relative to the workspace.
        content: All that the file is to hold.
    """
    place = place_of(path, context)
    before = await _read_if_there(place, context)
    data = content.encode(errors="replace")
    if before is not None and before.data == data:
        return ToolResult(f"{place} holds this already.")
    await context.sandbox.files.write(place, data)
    lines = len(content.splitlines())
    made = "made" if before is None else "written anew"
    return ToolResult(f"{place} was {made}: {lines} line{'s' * (lines != 1)}.", changed=(place,))


@tool(effects="idempotent", resources=path_touched)
async def edit_file(path: str, changes: Changes, *, context: ToolContext) -> ToolResult:
    """Change pieces of a text file. All changes are made, or none.

    Each change has `old`, the lines that stand in the file now, and `new`, what is to stand there instead. `old` must
    fit one place only: quote as many lines as that needs, or set `all` to change every place.

    Args:
        path: The file, relative to the workspace.
        changes: Made one after the other.
    """
    place = place_of(path, context)
    before = await read_text(place, context)
    after, made = await asyncio.to_thread(make_changes, before, changes)  # a large file takes a while
    if after == before:
        return ToolResult(f"{place} is as it was.")
    await context.sandbox.files.write(place, after.encode())
    told = [f"{number}. {one}" for number, one in enumerate(made, start=1)]
    diff = await asyncio.to_thread(_diff, before.text, after.text, place)
    if any(one.how != "exact" for one in made):
        told.append(head_and_tail(diff, _SHOWN_OF_DIFF))
    data = {"changes": msgspec.json.decode(msgspec.json.encode(made)), "diff": diff}
    return ToolResult("\n".join([f"{place} was changed:", *told]), data=data, changed=(place,))


@tool(effects="idempotent", resources=path_touched)
async def rm_file(path: str, *, context: ToolContext) -> ToolResult:
    """Remove a file.

    Args:
        path: The file, relative to the workspace.
    """
    place = place_of(path, context)
    try:
        await context.sandbox.files.remove(place)
    except NotFound as error:
        raise await missing(error, place, context) from None
    return ToolResult(f"{place} was removed.", changed=(place,))


@tool(effects="none")
async def ls_dir(
    path: str = ".", *, depth: Annotated[int, msgspec.Meta(ge=1, le=20)] = 1, context: ToolContext
) -> ToolResult:
    """List what a folder holds.

    Args:
        path: The folder, relative to the workspace; left out: the whole workspace.
        depth: How many levels of folders to show; left out: 1.
    """
    place = place_of(path, context)
    listing = await context.sandbox.files.list(place, depth=depth)
    marks = {"folder": "/", "link": " (symbolic link)", "other": " (no regular file)"}
    rows = [entry.path + marks.get(entry.kind, f" ({entry.size} bytes)") for entry in listing.entries]
    if not listing.is_whole:
        rows.append("[... there is more; list one of the folders ...]")
    data = [{"path": entry.path, "kind": entry.kind, "size": entry.size} for entry in listing.entries]
    return ToolResult("\n".join(rows) or f"[{place} is empty]", data=data)


async def read_text(place: str, context: ToolContext) -> FileText:
    """The text of a file that is there and not too large."""
    try:
        found = await context.sandbox.files.read(place, limit=_LARGEST)
    except NotFound as error:
        raise await missing(error, place, context) from None
    if found.size > len(found.data):
        raise Refused(
            f"{place!r} has {found.size} bytes, and no more than {_LARGEST} are read.",
            hint="Look at parts of it with a command, such as head, tail or grep.",
        )
    return decode(found.data, place)


async def _read_if_there(place: str, context: ToolContext) -> FileContent | None:
    try:
        return await context.sandbox.files.read(place, limit=_LARGEST)
    except NotFound:
        return None


def _diff(before: str, after: str, place: str) -> str:
    """What an edit did, as a unified diff."""
    lines = (_lines(before), _lines(after))
    diff = difflib.unified_diff(*lines, f"a/{place}", f"b/{place}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in diff)


def _lines(text: str) -> list[str]:
    """The lines with their ends. Only a newline ends one: `splitlines` knows other characters, and editors do not."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _fitting(lines: list[str], room: int) -> list[str]:
    """The first lines that have room together; of a line that is too long by itself, its beginning."""
    shown: list[str] = []
    for line in lines:
        if len(line) > room:
            return shown or [line[: max(room, 0)] + f" [... the line has {len(line)} characters]"]
        room -= len(line)
        shown.append(line)
    return shown
