"""The tool `search`: a pattern in the files of the workspace."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from treadle.errors import Refused
from treadle.ports.sandbox import MIB
from treadle.ports.tool import ToolContext, ToolResult
from treadle.tools import _search_inside
from treadle.tools.define import tool
from treadle.tools.places import place_of

_PROGRAM = Path(_search_inside.__file__)
_SECONDS = 20.0
_LIMIT = 200
_OUTPUT = 4 * MIB


@tool(effects="none")
async def search(
    pattern: str,
    path: str = ".",
    glob: str | None = None,
    *,
    ignore_case: bool = False,
    context_lines: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0,
    context: ToolContext,
) -> ToolResult:
    """Search the text of files for a regular expression, line by line.

    Leaves out binary files, those that .gitignore names, and folders such as node_modules.

    Args:
        pattern: A regular expression of Python.
        path: The file or folder to search; left out: the whole workspace.
        glob: Only files of this form, such as `*.py`, `src/**/*.{js,ts}` or `!test_*`; left out: all files.
        ignore_case: Capital letters do not matter.
        context_lines: Lines to show before and after each; left out: none.
    """
    place = place_of(path, context)
    form, note = _checked(pattern)
    asked: dict[str, Any] = {"pattern": form, "path": place, "glob": glob, "ignore_case": ignore_case}
    asked |= {"context": context_lines, "limit": _LIMIT}
    limits = replace(context.limits, wall_seconds=min(_SECONDS, context.limits.wall_seconds), output_bytes=2 * _OUTPUT)
    # -I: what lies in the workspace must not be taken for a module of the standard library.
    result = await context.sandbox.exec(
        ["python", "-I", "-c", _PROGRAM.read_text("utf-8")], limits=limits, stdin=json.dumps(asked).encode()
    )
    if result.timed_out:
        hint = "Use a simpler pattern, or search fewer files."
        raise Refused(f"The search did not end within {limits.wall_seconds:g} seconds.", hint=hint)
    if result.exit_code != 0:
        last = (result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"])[-1]
        raise Refused(f"The search failed: {last}.", hint="Leave out `path` to search everywhere.")
    return _told([json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")], note)


def _checked(pattern: str) -> tuple[str, str]:
    """The pattern as a regular expression, and what to say about it."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return re.escape(pattern), f"[{pattern!r} is no regular expression ({error}); searched for as it is]"
    return pattern, ""


def _told(found: list[dict[str, Any]], note: str) -> ToolResult:
    matches = [one for one in found if "line" in one]
    rows = [note] if note else []
    for match in matches:
        for number, line in enumerate(match["lines"], start=match["first"]):
            mark = ":" if number == match["line"] else "-"
            rows.append(f"{match['path']}{mark}{number}{mark}{line}")
        if len(match["lines"]) > 1:
            rows.append("--")
    if not matches:
        rows.append("[nothing was found]")
    if any("more" in one for one in found):
        rows.append(f"[... more than {_LIMIT} lines; search for less, or in fewer files ...]")
    rows += [f"[{one['too_large']} is too large to be searched]" for one in found if "too_large" in one]
    data = [{"path": match["path"], "line": match["line"]} for match in matches]
    return ToolResult("\n".join(rows), data=data)
