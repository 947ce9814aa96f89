"""Calling a tool on the word of a model: arguments checked, mistakes answered, output bounded, time taken."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from treadle.domain.messages import with_whole_characters
from treadle.errors import NotFound, Refused, SandboxUnavailable, TreadleError, UsageError
from treadle.ports.tool import Tool, ToolContext, ToolResult
from treadle.tools.arguments import problems_of, without_nulls
from treadle.tools.output import head_and_tail, printable


async def call_tool(tool: Tool, args: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """Call a tool. What the model can mend comes back as a result with `is_error`, and says how.

    The text is printable and has at most `context.shown` characters, head and tail; if it was longer, the whole is kept
    in `context.blobs`. Cancelling it cancels the call.

    Raises:
        SandboxUnavailable: The sandbox failed to start. Nothing was done.
        TreadleError: Something that no other arguments would mend, such as a store that is not reached.
    """
    began = time.monotonic()
    given = with_whole_characters(without_nulls(args, tool.definition.parameters))
    problems = problems_of(given, tool.definition)
    if problems:
        return ToolResult(f"{tool.name} was not called. {problems}", is_error=True)
    try:
        result = await tool.call(given, context)
    except SandboxUnavailable:
        raise
    except (Refused, UsageError, NotFound) as error:
        result = failed(error)
    return replace(await _bounded(result, context), seconds=time.monotonic() - began)


def failed(error: TreadleError) -> ToolResult:
    """An error as a model is told of it."""
    return ToolResult(error.with_hint, is_error=True)


async def _bounded(result: ToolResult, context: ToolContext) -> ToolResult:
    text = printable(result.text)
    shown = head_and_tail(text, context.shown)
    if shown == text:
        return replace(result, text=text)
    full = result.full
    if not full and context.blobs is not None:
        full = await context.blobs.put_blob(text.encode())
    return replace(result, text=shown, full=full)
