"""An MCP server written with the SDK, for tests: over stdio, or with `http PORT TOKEN` over HTTP."""

from __future__ import annotations

import os
import sys

import mcp_types as types
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("friendly")
PIXEL = bytes.fromhex("89504e470d0a1a0a")


@server.tool(annotations=types.ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers.

    Slowly, by hand."""
    return a + b


@server.tool()
def append(text: str) -> str:
    """Write a line into a file of the workspace."""
    with open("lines.txt", "a") as file:
        file.write(text + "\n")
    return f"in {os.getcwd()} with {' '.join(sorted(os.environ))}"


@server.tool(annotations=types.ToolAnnotations(idempotent_hint=True, destructive_hint=True))
def boom() -> str:
    """Fail."""
    raise ToolError("no such thing; try another")


@server.tool()
async def meta(ctx: Context) -> dict[str, str]:
    """Tell what came beside the arguments."""
    await ctx.report_progress(1, 2, "half way")
    return {"traceparent": str((ctx.request_context.meta or {}).get("traceparent"))}


@server.tool(structured_output=False)
def picture() -> list[object]:
    """Give a picture, and a long text."""
    return ["x" * 20_000, Image(data=PIXEL, format="png")]


def main() -> None:
    if sys.argv[1:2] != ["http"]:
        server.run(transport="stdio")
        return
    import uvicorn
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse

    class Guard:
        def __init__(self, app: object) -> None:
            self.app = app

        async def __call__(self, scope: object, receive: object, send: object) -> None:
            if scope["type"] == "http" and Request(scope).headers.get("authorization") != f"Bearer {sys.argv[3]}":
                refusal = PlainTextResponse("no", 401, {"www-authenticate": "Bearer realm=test"})
                await refusal(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    app = server.streamable_http_app()
    app.user_middleware.append(Middleware(Guard))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")


main()
