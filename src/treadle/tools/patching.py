"""The tools `apply_patch` and `git_diff`: changes of several files at once, written and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.domain.paths import clean_path
from treadle.errors import NotFound, Refused
from treadle.ports.tool import ToolContext, ToolResult
from treadle.tools.define import tool
from treadle.tools.files import read_text
from treadle.tools.patches import FilePatch, apply, read_patch
from treadle.tools.places import place_of
from treadle.tools.text import FileText


def _touched(args: Mapping[str, Any]) -> set[str]:
    """The files that a patch names; everything, where it cannot be told."""
    try:
        patches = read_patch(str(args.get("patch", "")))
        return {clean_path(path) for patch in patches for path in (patch.old, patch.new) if path is not None}
    except Refused:
        return {"*"}


@tool(effects="idempotent", resources=_touched)
async def apply_patch(patch: str, *, context: ToolContext) -> ToolResult:
    """Apply a patch, of one file or of several: all of it, or nothing.

    Lines are found by what stands in them, so line numbers may be off. `--- /dev/null` makes a file, `+++ /dev/null`
    removes one.

    Args:
        patch: A unified diff as `git diff` writes it; or `*** Begin Patch` with `*** Update File: PATH` and the like.
    """
    wanted: dict[str, FileText | None] = {}
    told = []
    for one in read_patch(patch):
        told.append(await _apply_one(one, wanted, context))
    files = context.sandbox.files
    for path, text in wanted.items():
        if text is not None:
            await files.write(path, text.encode())
    for path, text in wanted.items():
        if text is None:
            await files.remove(path)
    return ToolResult("\n".join(told), changed=tuple(sorted(wanted)))


@tool(effects="none")
async def git_diff(path: str | None = None, *, context: ToolContext) -> ToolResult:
    """Show what changed since the work began, as a unified diff.

    Args:
        path: Only this file, or the files in this folder.
    """
    if context.baseline is None:
        raise Refused("There is nothing to compare the files with.", hint="Read the files instead.")
    diff = await context.baseline.diff()
    if path is not None:
        place = place_of(path, context)
        diff = diff if place == "." else _part(diff, place)
    return ToolResult(diff or "[nothing was changed]")


async def _apply_one(patch: FilePatch, wanted: dict[str, FileText | None], context: ToolContext) -> str:
    """Work out what becomes of one file, on top of what became of it before; writes nothing."""
    old = place_of(patch.old, context) if patch.old is not None else None
    new = place_of(patch.new, context) if patch.new is not None else None
    before = await _text(old, wanted, context) if old else FileText("")
    if old is None and new is not None and await _is_there(new, wanted, context):
        raise Refused(f"{new!r} is there already; the patch would make it.", hint="Write a patch of what is there.")
    if new != old and old and new and await _is_there(new, wanted, context):
        raise Refused(f"{new!r} is there already; nothing was renamed.", hint="Remove it first.")
    after = apply(before, patch)
    if new is None:
        assert old is not None
        if after.raw and not patch.is_whole:
            raise Refused(
                f"The patch removes {old!r}, but not all that stands in it; nothing was changed.",
                hint="Use rm_file, or write the whole file into the patch.",
            )
        wanted[old] = None
        return f"{old} was removed."
    wanted[new] = after
    if old is not None and old != new:
        wanted[old] = None
        return f"{old} became {new}."
    return f"{new} was {'made' if old is None else 'changed'}."


async def _text(path: str, wanted: Mapping[str, FileText | None], context: ToolContext) -> FileText:
    if path not in wanted:
        return await read_text(path, context)
    found = wanted[path]
    if found is None:
        raise NotFound(f"The patch changes {path!r} after it removed it.", hint="Name each file once.")
    return found


async def _is_there(path: str, wanted: Mapping[str, FileText | None], context: ToolContext) -> bool:
    if path in wanted:
        return wanted[path] is not None
    try:
        await context.sandbox.files.read(path, limit=1)
    except NotFound:
        return False
    return True


def _part(diff: str, place: str) -> str:
    """The part of a diff that is about a file, or the files in a folder."""
    parts, keep = [], False
    for line in diff.splitlines(keepends=True):
        if line.startswith("diff --git "):
            keep = any(line.rstrip("\n").endswith(f" b/{place}") or f" {side}/{place}/" in line for side in ("a", "b"))
        if keep:
            parts.append(line)
    return "".join(parts)
