"""Paths as models write them, and what to tell them of one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from treadle.domain.paths import clean_path
from treadle.errors import NotFound, Refused
from treadle.ports.tool import ToolContext

_INSIDE = "/workspace"
"""What the workspace is called inside some sandboxes, so that models read it in the output of commands."""
_DEPTH = 6


def relative(path: str, context: ToolContext) -> str:
    """The path relative to the workspace, also if it was written with the workspace's own path before it."""
    for root in (_INSIDE, str(context.sandbox.workspace)):
        if path == root or path.startswith(f"{root}/"):
            return path[len(root) :].lstrip("/") or "."
    return path


def place_of(path: str, context: ToolContext) -> str:
    """The clean path of a file or folder in the workspace; `.` for the workspace itself.

    Raises:
        Refused: It leads out, or is no path.
    """
    place = relative(path, context)
    return "." if place.strip() in ("", ".", "./") else clean_path(place)


def path_touched(args: Mapping[str, Any]) -> frozenset[str]:
    """What a call with a `path` touches: everything, where it cannot be told."""
    try:
        return frozenset({clean_path(str(args.get("path", "")).removeprefix(f"{_INSIDE}/"))})
    except Refused:
        return frozenset({"*"})


async def missing(error: NotFound, path: str, context: ToolContext) -> NotFound:
    """The error with the paths that may be meant: those that are alike, or have the same name in another folder."""
    listing = await context.sandbox.files.list(depth=_DEPTH)
    known = [entry.path for entry in listing.entries if entry.kind == "file"]
    name = path.rpartition("/")[2]
    same = [one for one in known if one.rpartition("/")[2] == name][:3]
    near = list(dict.fromkeys([*same, *difflib.get_close_matches(path, known, n=3, cutoff=0.6)]))
    return NotFound(str(error), hint=f"Did you mean {' or '.join(near[:3])}?" if near else error.hint)
