"""A door on loopback that speaks OpenAI's chat completions and leads to a model here: what peers are pointed at.

It counts tokens, keeps to a limit of them, and answers no more questions beyond it. Streams are not offered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from treadle.domain.messages import Message, ModelRequest
from treadle.errors import TreadleError
from treadle.ports.model import Model


class Door:
    """One peer's way to one model."""

    def __init__(self, model: Model, name: str, *, most_tokens: int, answer_tokens: int) -> None:
        self._model = model
        self._name = name
        self._most = most_tokens
        self._answer = answer_tokens
        self.spent = 0
        """Tokens, of prompts and answers."""
        self.calls = 0
        self.seconds = 0.0
        self.is_shut = False
        """Whether something was asked beyond the limit."""
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Door]:
        """Answer on a free port as long as the context lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
            asked = json.loads(await reader.readexactly(length)) if length else {}
            status, said = await self._answered(asked)
            body = json.dumps(said).encode()
            lines = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{lines}Connection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # a client that went away
        finally:
            writer.close()

    async def _answered(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.spent >= self._most:
            self.is_shut = True
            return 400, {"error": {"message": "The limit of tokens is reached.", "type": "invalid_request_error"}}
        messages = tuple(Message(m["role"], _text(m.get("content"))) for m in asked.get("messages", ()))
        most = min(self._answer, int(asked.get("max_tokens") or self._answer))
        stop = asked.get("stop") or ()
        request = ModelRequest(
            self._name,
            messages,
            max_tokens=most,
            temperature=float(asked.get("temperature") or 0.0),
            seed=int(asked.get("seed") or 0),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
        )
        try:
            reply = await self._model.reply(request)
        except TreadleError as error:
            return 400, {"error": {"message": str(error), "type": "invalid_request_error"}}
        self.spent += reply.usage.total
        self.seconds += reply.seconds
        self.calls += 1
        usage = {"prompt_tokens": reply.usage.input_tokens, "completion_tokens": reply.usage.output_tokens}
        choice = {
            "index": 0,
            "finish_reason": "length" if reply.finish_reason == "length" else "stop",
            "message": {"role": "assistant", "content": reply.text},
        }
        usage["total_tokens"] = reply.usage.total
        whole = {"id": "door", "object": "chat.completion", "created": 0, "model": self._name, "usage": usage}
        return 200, {**whole, "choices": [choice]}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")
