"""The SDK's client against `treadle mcp serve`, over either transport."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from commandline import Commands, until
from mcp import Client, StdioServerParameters


def stdio(treadle: Commands, *words: str) -> StdioServerParameters:
    """How a client starts a server."""
    arguments = ["-m", "treadle", "mcp", "serve", *words]
    return StdioServerParameters(command=sys.executable, args=arguments, env=treadle.env, cwd=treadle.folder)


def serve_http(treadle: Commands, *words: str) -> str:
    """Start a server at a free port; returns its URL."""
    process = treadle.start("mcp", "serve", *words, "--http", "--port", "0")
    return until(process, " answers at ").split(" answers at ")[1].strip().rstrip(".")


class Calls:
    """Calls of tools, and what they came to."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.progress: list[str] = []
        """What was said while calls were under way."""

    async def __call__(self, tool: str, **args: Any) -> Any:
        """What a tool that succeeds tells programs."""
        meta: Any = {"traceparent": TRACE}
        result = await self.client.call_tool(tool, args, meta=meta, progress_callback=self._keep)
        assert not result.is_error, result.content
        return result.structured_content

    async def _keep(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append(message or "")

    async def refused(self, tool: str, **args: Any) -> str:
        """What a tool that refuses tells a model."""
        result = await self.client.call_tool(tool, args)
        assert result.is_error, result.content
        return "".join(getattr(block, "text", "") for block in result.content)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@asynccontextmanager
async def calling(treadle: Commands, over: str, *words: str) -> AsyncIterator[Calls]:
    """Connect over `stdio` or `http`."""
    where = stdio(treadle, *words) if over == "stdio" else serve_http(treadle, *words)
    async with Client(where) as client:
        yield Calls(client)
