"""A server as a source of tools, and its tools as agents call them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.errors import ConfigError, SandboxUnavailable
from treadle.ports.sandbox import Process, Sandbox, Spawning
from treadle.ports.tool import Offer, Tool, ToolContext, ToolResult
from treadle.sandboxes.choose import BACKENDS, egress_to
from treadle.settings import McpServer, Settings
from treadle.tools.mcp.access import ready, secrets_of
from treadle.tools.mcp.offers import clean, offers_of
from treadle.tools.mcp.results import result_of
from treadle.tools.mcp.seen import SeenTools

if TYPE_CHECKING:
    from treadle.tools.mcp.connection import Connection, Link

logger = logging.getLogger("treadle.tools.mcp")


class McpSource:
    """The tools of one server. Implements `ports.tool.ToolSource`.

    A server behind a URL has one connection. One that is a program runs once for each workspace, in that sandbox.
    """

    def __init__(self, server: McpServer, settings: Settings, open_sandbox: Callable[..., Any]) -> None:
        """`open_sandbox`: as `sandboxes.choose.open_sandbox`, for a server that needs one of its own."""
        self.server = server
        self._settings = settings
        self._open_sandbox = open_sandbox
        self._seen = SeenTools(settings.project / ".treadle")
        self._connections: dict[str, Connection] = {}
        self._opened = AsyncExitStack()
        self.problems: list[str] = []
        """Why some of its tools are not offered, as of the last time it was asked."""

    @property
    def name(self) -> str:
        return self.server.name

    async def offers(self, sandbox: Sandbox | None) -> Sequence[Offer]:
        offers, self.problems = offers_of(self.server, await self.connection(sandbox).tools())
        for problem in self.problems:
            logger.warning("%s", problem)
        return self._seen.marked(self.server, offers)

    def keep(self, offers: Sequence[Offer], *, anew: bool = False) -> None:
        self._seen.keep(self.server, offers, anew=anew)

    def tool(self, offer: Offer) -> Tool:
        return McpTool(self, offer)

    def connection(self, sandbox: Sandbox | None) -> Connection:
        """The connection for a workspace; it need not be up.

        Raises:
            SandboxUnavailable: It is a program, and there is no sandbox.
            ConfigError: The server cannot be used as it is written down, or the SDK is not installed.
        """
        try:
            from treadle.tools.mcp.connection import Connection
            from treadle.tools.mcp.pipes import PipeLink
            from treadle.tools.mcp.web import WebLink
        except ImportError as error:
            what = f"MCP servers need {error.name}, which is not installed; {self.name!r} was not asked."
            raise ConfigError(what, hint="Run: pip install 'treadle[mcp]'") from None
        if sandbox is None and not self.server.url:
            raise SandboxUnavailable(f"There is no sandbox for the MCP server {self.name!r}; it was not started.")
        key = "" if sandbox is None or self.server.url else str(sandbox.workspace)
        if key not in self._connections:
            server, secrets = ready(self.server, self._settings), secrets_of(self.server, self._settings)

            def link() -> Link:
                if server.url:
                    return WebLink(server)
                assert sandbox is not None
                return PipeLink(lambda: self._start(server, sandbox), server.command)

            self._connections[key] = Connection(self.server, link, lambda text: _without(secrets, text))
        return self._connections[key]

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        self._connections.clear()
        await self._opened.aclose()

    async def _start(self, server: McpServer, sandbox: Sandbox) -> Process:
        """Start it in a sandbox of its own: the agent's may have another way out."""
        place: Any = sandbox
        if sandbox.name in BACKENDS:
            backend, egress = server.sandbox or sandbox.name, egress_to(server.allow_hosts)
            place = await self._open_sandbox(sandbox.workspace, backend=backend, egress=egress)
            self._opened.push_async_callback(place.close)
        elif server.sandbox or server.allow_hosts:
            what = f"The MCP server {server.name!r} was not started: it wants another sandbox than {sandbox.name!r}."
            raise SandboxUnavailable(what, hint="Leave out sandbox and allow_hosts of the server.")
        if not isinstance(place, Spawning):
            what = (
                f"The MCP server {server.name!r} was not started: the sandbox {sandbox.name!r} cannot keep a process."
            )
            raise SandboxUnavailable(what, hint="Use bubblewrap: [sandbox] backend in treadle.toml.")
        argv = [server.command, *server.args]
        if server.cwd:
            argv = ["/bin/sh", "-c", 'cd -- "$0" && exec "$@"', server.cwd, *argv]
        reads = [Path(path) for path in server.reads]
        return await place.spawn(argv, env=server.env, reads=reads, with_workspace=server.workspace)


class McpTool:
    """A tool of a server, as it was offered. Implements `ports.tool.Tool`."""

    def __init__(self, source: McpSource, offer: Offer) -> None:
        self.name = offer.definition.name
        self.definition = offer.definition
        self.effects = offer.effects
        self._source = source
        self._offer = offer

    def resources(self, args: Mapping[str, Any]) -> frozenset[str]:
        """Nobody knows what it touches."""
        return frozenset() if self.effects == "none" else frozenset({"*"})

    async def call(self, args: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Send the call to the server; see the port."""
        from treadle.tools.mcp.connection import BrokenOff, Told

        meta = {"traceparent": context.trace} if context.trace else {}
        on_progress = _shown(context.on_progress) if context.on_progress else None
        connection = self._source.connection(context.sandbox)
        try:
            answer = await connection.call(self._offer.tool, args, meta=meta, on_progress=on_progress)
        except BrokenOff as error:
            unsure = (
                "" if self.effects == "none" else " Nobody knows whether it took effect: look before you repeat it."
            )
            return ToolResult(f"{self.name} gave no answer: {error}.{unsure}", is_error=True)
        except Told as error:
            return ToolResult(f"{self.name} failed: {error}", is_error=True)
        return await result_of(answer, context.blobs)


def _shown(show: Callable[[str], None]) -> Callable[..., Any]:
    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        of = f" of {total:g}" if total else ""
        show(clean(f"{done:g}{of} {message or ''}", 200))

    return on_progress


def _without(secrets: Sequence[str], text: str) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
