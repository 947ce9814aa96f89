"""Serving an ASGI application to others, until a block is left. What it answers is the application's business."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from treadle.errors import ConfigError
from treadle.models.extras import require

_LAST_ANSWERS_S = 5
"""How long answers under way may take after a stop."""


@asynccontextmanager
async def http_server(app: Any, *, host: str, port: int, extra: str) -> AsyncIterator[str]:
    """Serve an ASGI application, and yield its URL; answers under way then get some seconds to end.

    What the application needs to be alive is to be entered before.

    Args:
        port: 0 takes any that is free.
        extra: The extra that brings the server.

    Raises:
        ConfigError: The extra is not installed, or the address cannot be had.
    """
    uvicorn = require("uvicorn", extra)
    listener = _listen(host, port)
    options = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=_LAST_ANSWERS_S
    )
    server = uvicorn.Server(options)
    server.capture_signals = _no_signals  # signals are the command's business
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    bound = listener.getsockname()
    try:
        yield f"http://{_shown_host(bound[0])}:{bound[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait([running])
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as exc:
        raise ConfigError(f"{host!r} is no address to listen at: {exc}.", hint="Use 127.0.0.1.") from exc
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened at: {exc.strerror or exc}; nothing is served.",
            hint="Another --port, or 0 for any.",
        ) from exc
    return listener


def _shown_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _no_signals() -> Iterator[None]:
    yield
