"""How our MCP servers are reached: by stdin and stdout, or by HTTP, alone or mounted in another application."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.errors import UsageError
from treadle.models.loopback import is_loopback
from treadle.services.http_server import http_server

log = logging.getLogger(__name__)
PATH = "/mcp"
PORT = 8765
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_EVERYWHERE = ("0.0.0.0", "::", "")


async def serve_stdio(server: MCPServer[Any], stop: asyncio.Event) -> None:
    """Serve whoever started us, until stdin ends or it is time to stop. Calls under way are cancelled then.

    A thread may still read stdin afterwards: end the process without waiting for it.
    """
    serving = asyncio.ensure_future(server.run_stdio_async())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not serving.done():
        serving.cancel()
        return
    try:
        serving.result()
    except* OSError as errors:  # nobody reads what we say any more
        log.info("the client is gone: %s", errors.exceptions[0])


def http_app(server: MCPServer[Any], *, path: str = PATH, hosts: Sequence[str] = (), token: str = "") -> Starlette:
    """Make an ASGI application of a server, for any HTTP server, or to be mounted in an application.

    Whoever mounts it enters `alive(app)` in the lifespan of the whole. Requests are refused that name a host or an
    origin that is none of ours: a page in a browser could send them under another name.

    Args:
        path: Where it answers.
        hosts: Names that it is reached by, besides loopback; with a port, or with every port.
        token: Every request needs it as its bearer token; empty lets everybody in.
    """
    names = [*_LOOPBACK, *hosts]
    allowed = [form for name in names for form in (name, f"{name}:*")]
    origins = [f"{scheme}://{form}" for scheme in ("http", "https") for form in allowed]
    security = TransportSecuritySettings(allowed_hosts=allowed, allowed_origins=origins)
    app = server.streamable_http_app(streamable_http_path=path, transport_security=security)
    if token:
        app.add_middleware(_NeedToken, token=token)
    return app


@asynccontextmanager
async def alive(app: Starlette) -> AsyncIterator[None]:
    """What an application of `http_app` needs around it while it answers. To be entered once."""
    async with app.router.lifespan_context(app):
        yield


@asynccontextmanager
async def serving_http(
    server: MCPServer[Any], *, host: str, port: int, path: str = PATH, hosts: Sequence[str] = (), token: str = ""
) -> AsyncIterator[str]:
    """Serve over streamable HTTP until the block is left, and yield the URL.

    Raises:
        UsageError: Others would reach it, and there is no token; or the path is none.
        ConfigError: The address cannot be had.
    """
    if not path.startswith("/"):
        raise UsageError(
            f"The path {path!r} does not begin with a slash; nothing is served.", hint=f"Write {'/' + path!r}."
        )
    if not token and not is_loopback(f"http://{f'[{host}]' if ':' in host else host}"):
        raise UsageError(
            f"Others could reach {host!r}, and no token is set; nothing is served.",
            hint="Set TREADLE_MCP_TOKEN, or name a variable with --token-env; or listen at 127.0.0.1.",
        )
    app = http_app(server, path=path, hosts=[*_names_of(host), *hosts], token=token)
    async with alive(app), http_server(app, host=host, port=port, extra="mcp") as url:
        yield url + path


def _names_of(host: str) -> list[str]:
    """What a client may call an address that we listen at."""
    if host not in _EVERYWHERE:
        return [f"[{host}]" if ":" in host else host]
    names = [socket.gethostname()]
    with suppress(OSError):
        names += [socket.getfqdn()]
    return names


class _NeedToken:
    """Lets nobody in without the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                message = "The token is missing or wrong. Send it as `Authorization: Bearer TOKEN`."
                answer = JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)
