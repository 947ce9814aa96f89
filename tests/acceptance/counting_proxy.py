"""A loopback proxy before a model server that remembers every question, and when it was asked."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2


def name_of(request: dict[str, Any]) -> str:
    """Name a question by what decides the answer, in the provider's form as in ours."""
    messages = [[message["role"], message["content"]] for message in request["messages"]]
    return json.dumps([messages, request.get("seed"), request.get("temperature"), request.get("max_tokens")])


class CountingProxy:
    """`url` takes chat completions and passes them on to `base_url`; `asked` holds (time, question)."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.asked: list[tuple[float, str]] = []
        handler = _handler(self, base_url, api_key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(proxy: CountingProxy, base_url: str, api_key: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            proxy.asked.append((time.time(), name_of(json.loads(body))))
            headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
            try:
                with httpx2.stream(
                    "POST", f"{base_url}/chat/completions", content=body, headers=headers, timeout=120
                ) as reply:
                    self.send_response(reply.status_code)
                    self.send_header("Content-Type", reply.headers["Content-Type"])
                    self.end_headers()
                    for piece in reply.iter_raw():
                        self.wfile.write(piece)
                        self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError, httpx2.HTTPError):
                self.close_connection = True  # the asker was killed; the model stops with the connection

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the test's output is read by people."""

    return Handler
