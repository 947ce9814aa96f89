"""A server on loopback that speaks chat completions as far as a build needs them, and answers by rules per model.

It loads and unloads models as a llama-server does that is a router.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Rules = list[tuple[str, str]]
"""Text in the question, and the code that answers it; the first that fits."""


class ChatServer:
    """Its address, what each model answers, and what each was asked."""

    def __init__(self, url: str, models: dict[str, Rules]) -> None:
        self.url = url
        self.models = models
        self.asked: list[str] = []
        self.loaded: set[str] = set()


@contextmanager
def chat_server(models: dict[str, Rules]) -> Iterator[ChatServer]:
    """Serve until the end of the block. A model without rules is not known."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [
                {"id": name, "object": "model", "status": {"value": "loaded" if name in state.loaded else "unloaded"}}
                for name in state.models
            ]
            self._send(200, "application/json", json.dumps({"object": "list", "data": listed}).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path in ("/models/load", "/models/unload"):
                (state.loaded.add if self.path == "/models/load" else state.loaded.discard)(asked["model"])
                return self._send(200, "application/json", b'{"success": true}')
            state.asked.append(asked["model"])
            question = "\n".join(str(message["content"]) for message in asked["messages"])
            code = next((code for when, code in state.models[asked["model"]] if when in question), None)
            self.close_connection = True
            if code is None:
                self._send(404, "application/json", b'{"error": {"message": "no such model"}}')
            else:
                self._send(200, "text/event-stream", _stream(asked["model"], f"```python\n{code}```"))

        def _send(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = ChatServer(f"http://127.0.0.1:{server.server_port}/v1", models)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _stream(model: str, text: str) -> bytes:
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]
    chunks = [{"choices": choices}, {"choices": [], "usage": usage}]
    common = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model}
    lines = [json.dumps(common | chunk) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
