"""Servers that load and unload, on loopback: Ollama, a llama-server router, vLLM. They speak as the real ones do.

Times are told in counts of looks instead of seconds, so that nobody has to wait: a load is done after the server has
been looked at `looks_to_load` times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from treadle.testing.loopback_http import Exchange


@dataclass(slots=True)
class ToyServer:
    """What the three have in common: models, what is loaded, and how they misbehave."""

    sizes: dict[str, int]
    """Bytes by name."""
    loaded: dict[str, int] = field(default_factory=dict)
    """Context by name."""
    looks_to_load: int = 1
    behaviour: str = ""
    """`html`: a page for everything. `cut`: dies in the middle of a load. `full`: has no memory left.
    `deaf`: says yes and does nothing."""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    _waiting: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def play(self, exchange: Exchange) -> None:
        body = json.loads(exchange.body) if exchange.body else None
        self.asked.append((exchange.path, body))
        if self.behaviour == "html":
            await exchange.whole(200, b"<html><title>Welcome</title></html>", "text/html")
            return
        await self.answer(exchange, body)

    async def answer(self, exchange: Exchange, body: Any) -> None:
        raise NotImplementedError

    def begin(self, name: str, context: int = 4096) -> None:
        """Begin to load."""
        if self.behaviour != "deaf":
            self._waiting[name] = (self.looks_to_load, context)

    def look(self) -> None:
        """Let time pass."""
        for name, (looks, context) in list(self._waiting.items()):
            if looks <= 0:
                self.loaded[name] = context
                del self._waiting[name]
            else:
                self._waiting[name] = (looks - 1, context)

    def end(self, name: str) -> None:
        if self.behaviour != "deaf":
            self.loaded.pop(name, None)


@dataclass(slots=True)
class ToyOllama(ToyServer):
    """`/api/ps`, `/api/tags`, `/api/show`, `/api/generate` without a prompt, `/api/pull`."""

    gpu_share: float = 1.0
    info: dict[str, Any] = field(default_factory=dict)
    """`model_info` of `/api/show`."""
    registry: dict[str, int] = field(default_factory=dict)
    """Bytes of what can be pulled."""

    async def answer(self, exchange: Exchange, body: Any) -> None:
        match exchange.path:
            case "/api/ps":
                self.look()
                await _json(exchange, 200, {"models": [self._running(name) for name in self.loaded]})
            case "/api/tags":
                found = [{"name": n, "model": n, "size": b, "details": {}} for n, b in self.sizes.items()]
                await _json(exchange, 200, {"models": found})
            case "/api/show":
                await _json(exchange, 200, {"model_info": self.info, "capabilities": ["completion"]})
            case "/api/generate":
                await self._generate(exchange, body)
            case "/api/pull":
                await self._pull(exchange, body)
            case _:
                await exchange.whole(404, b"404 page not found", "text/plain")

    def _running(self, name: str) -> dict[str, Any]:
        size = self.sizes[name]
        on_cards = int(size * self.gpu_share)
        return {"name": name, "model": name, "size": size, "size_vram": on_cards, "context_length": self.loaded[name]}

    async def _generate(self, exchange: Exchange, body: Any) -> None:
        name = body["model"]
        known = name if name in self.sizes else f"{name}:latest"
        if known not in self.sizes:
            await _json(exchange, 404, {"error": f"model '{name}' not found"})
        elif body.get("keep_alive") == 0:
            self.end(known)
            await _json(exchange, 200, {"model": name, "response": "", "done": True, "done_reason": "unload"})
        elif self.behaviour == "cut":
            exchange.cut()
        elif self.behaviour == "full":
            said = "model requires more system memory (9.1 GiB) than is available (2.0 GiB)"
            await _json(exchange, 500, {"error": said})
        else:
            self.begin(known, body.get("options", {}).get("num_ctx", 4096))
            await _json(exchange, 200, {"model": name, "response": "", "done": True, "done_reason": "load"})

    async def _pull(self, exchange: Exchange, body: Any) -> None:
        exchange.begin(200, "application/x-ndjson")
        total = self.registry.get(body["model"])
        if total is None:
            await exchange.send(b'{"error":"pull model manifest: file does not exist"}\n')
        else:
            parts: list[dict[str, Any]] = [{"status": "pulling manifest"}]
            layer = {"status": "pulling 2bada8a74506", "digest": "sha256:2bada8a74506", "total": total}
            parts += [{**layer, "completed": total * share // 4} for share in (0, 1, 4)]
            parts.append({"status": "verifying sha256 digest"})
            if self.behaviour != "cut":
                parts.append({"status": "success"})
            for part in parts:
                await exchange.send(json.dumps(part).encode() + b"\n")
            self.sizes[body["model"]] = total
        await exchange.end()


@dataclass(slots=True)
class ToyRouter(ToyServer):
    """`/models`, `/models/load`, `/models/unload` of llama-server without a model."""

    paths: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    async def answer(self, exchange: Exchange, body: Any) -> None:
        if exchange.path == "/models":
            self.look()
            await _json(exchange, 200, {"object": "list", "data": [self._listed(name) for name in self.sizes]})
        elif exchange.path not in ("/models/load", "/models/unload"):
            await _json(exchange, 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}})
        elif body["model"] not in self.sizes:
            said = {"code": 404, "message": "model is not found", "type": "not_found_error"}
            await _json(exchange, 404, {"error": said})
        elif exchange.path == "/models/unload":
            self.end(body["model"])
            await _json(exchange, 200, {"success": True})
        elif self.behaviour == "cut":
            exchange.cut()
        else:
            if self.behaviour == "full":
                self.failed.add(body["model"])
            else:
                self.begin(body["model"])
            await _json(exchange, 200, {"success": True})

    def _listed(self, name: str) -> dict[str, Any]:
        value = "loaded" if name in self.loaded else "loading" if name in self._waiting else "unloaded"
        status: dict[str, Any] = {"value": value, "args": ["llama-server", "-ctx", "4096"]}
        if name in self.failed:
            status |= {"failed": True, "exit_code": 1}
        return {"id": name, "object": "model", "path": self.paths.get(name, ""), "status": status}


@dataclass(slots=True)
class ToyVllm(ToyServer):
    """`/v1/models`, `/is_sleeping`, `/sleep`, `/wake_up`, `/metrics`. Its one model is loaded when it starts."""

    can_sleep: bool = True
    running: int = 0

    async def answer(self, exchange: Exchange, body: Any) -> None:
        (name,) = self.sizes
        path = exchange.path.partition("?")[0]
        if path == "/v1/models":
            await _json(
                exchange, 200, {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "vllm"}]}
            )
        elif path == "/metrics":
            figures = f'vllm:num_requests_running{{model_name="{name}"}} {self.running}.0\n'
            figures += f'vllm:num_requests_waiting{{model_name="{name}"}} 1.0\n'
            await exchange.whole(200, figures.encode(), "text/plain")
        elif not self.can_sleep:
            await _json(exchange, 404, {"detail": "Not Found"})
        elif path == "/is_sleeping":
            self.look()
            await _json(exchange, 200, {"is_sleeping": name not in self.loaded})
        elif self.behaviour == "cut":
            exchange.cut()
        elif path in ("/sleep", "/wake_up"):
            if path == "/sleep":
                self.end(name)
            else:
                self.begin(name)
            await exchange.whole(200, b"", "text/plain")
        else:
            await _json(exchange, 404, {"detail": "Not Found"})


async def _json(exchange: Exchange, status: int, body: Any) -> None:
    await exchange.whole(status, json.dumps(body).encode())
