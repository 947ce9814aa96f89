"""What our MCP servers have in common: how a function becomes a tool, how errors are told, whose trace a call is of."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    ContentBlock,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import ValidationError

from treadle.domain.messages import ToolDefinition
from treadle.errors import TreadleError
from treadle.tools.arguments import signature

log = logging.getLogger(__name__)
_TRACEPARENT = re.compile("[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_trace: ContextVar[str] = ContextVar("trace", default="")


class _Server(MCPServer[Any]):
    """Tells wrong arguments as our other tools do; the SDK shows classes of ours and addresses of its own."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            tool = next(tool for tool in await self.list_tools() if tool.name == name)
            takes = signature(ToolDefinition(name, "", tool.input_schema))
            wrong = [f"{_place(one['loc'])}{one['msg']}" for one in error.__cause__.errors(include_url=False)]
            said = f"{name} was not called. Wrong arguments: {'; '.join(wrong)}. It takes {takes}."
            raise ToolError(said) from error


def _place(keys: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, keys))}: " if keys else ""


def new_server(name: str, instructions: str) -> MCPServer[Any]:
    """Make a server without tools."""
    return _Server(
        f"treadle-{name}",
        instructions=instructions,
        version=version("treadle"),
        log_level="WARNING",
        middleware=[_keep_trace, _know_no_prompt],
    )


def offer(
    server: MCPServer[Any],
    function: Callable[..., Awaitable[Any]],
    *,
    title: str,
    reads: bool = False,
    destroys: bool = False,
    repeatable: bool = False,
    reaches_out: bool = False,
    name: str = "",
) -> None:
    """Make a function a tool; its docstring tells models what it does, and its annotations what it takes and gives.

    Errors of ours are told with what to do about them. Anything else is logged here, and told without its text.

    Args:
        reads: It changes nothing.
        destroys: It may take away or replace what was there.
        repeatable: Calling it again with the same arguments changes nothing more.
        reaches_out: It touches more than what the server was given.
    """

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except TreadleError as error:
            raise ToolError(error.with_hint) from error

    annotations = ToolAnnotations(
        read_only_hint=reads,
        destructive_hint=destroys,
        idempotent_hint=repeatable or reads,
        open_world_hint=reaches_out,
    )
    server.add_tool(call, name=name or function.__name__, title=title, annotations=annotations)


def reply(text: str, data: Mapping[str, Any] | None = None, *blocks: ContentBlock) -> CallToolResult:
    """A result: a text for models, and the same for programs. Without data it is `{"content": text}`."""
    structured = {"content": text} if data is None else dict(data)
    return CallToolResult(content=[*([TextContent(text=text)] if text else []), *blocks], structured_content=structured)


def traceparent() -> str:
    """The W3C trace context of the request that is being answered; empty if it has none that is valid."""
    return _trace.get()


async def _keep_trace(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Remember whose trace the request belongs to, as its `_meta` says, and log calls with it."""
    given = str((ctx.meta or {}).get("traceparent", ""))
    trace = given if _TRACEPARENT.fullmatch(given) and not given.startswith("ff") else ""
    kept = _trace.set(trace)
    try:
        if ctx.method == "tools/call":
            log.info("%s %s %s", ctx.method, (ctx.params or {}).get("name"), trace or "without a trace")
        return await call_next(ctx)
    finally:
        _trace.reset(kept)


async def _know_no_prompt(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Say that a prompt is not there, which the SDK tells clients of newer versions as an error of the server's."""
    if ctx.method == "prompts/get":
        raise MCPError(INVALID_PARAMS, f"Unknown prompt: {(ctx.params or {}).get('name')}")
    return await call_next(ctx)
