"""Servers on loopback that behave as badly as real ones."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from treadle.settings import ModelSettings


@dataclass
class WebServer:
    """What a test says the server does, and what was asked of it."""

    url: str = ""
    answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: handler.send_error(404)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range header) of each request."""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[WebServer]:
    state = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Range", "")))
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            state.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self.close_connection = True
            state.answer(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model_settings(tmp_path: Path) -> ModelSettings:
    return ModelSettings(cache_dir=tmp_path / "models", runtime_dir=tmp_path / "run", threads=1, context=512)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port where nobody listens, kept from others for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
