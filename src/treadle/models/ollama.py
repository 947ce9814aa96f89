"""Ollama over its own API, because its OpenAI-style one takes neither a context size nor a time to keep a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from treadle.domain.messages import FinishReason, Message, ModelReply, ModelRequest, ToolCall, Usage
from treadle.errors import ModelError, ModelUnavailable, Refused, TreadleError, UnknownName
from treadle.models.extras import require
from treadle.models.loopback import is_loopback
from treadle.ports.model import OnDelta
from treadle.settings import ModelSettings

_CONNECT_SECONDS = 5.0
_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


class OllamaModel:
    """Implements `ports.model.Model` with an Ollama server.

    The context is the same for every request: with another one Ollama loads the model anew.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._url = settings.ollama_url
        self._sdk = require("ollama", "ollama")
        # Ollama's package brings this one; ours is httpx2.
        self._http = require("httpx", "ollama")
        silence = max(settings.first_token_seconds, settings.stall_seconds) + 30
        self._client = self._sdk.AsyncClient(
            host=self._url,
            timeout=self._http.Timeout(silence, connect=_CONNECT_SECONDS),
            trust_env=not is_loopback(self._url),
        )

    @property
    def provider(self) -> str:
        return "ollama"

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request: see `ports.model.Model.reply`. Ollama loads the model first if it is not loaded."""
        began = time.monotonic()
        answer = _Answer()
        try:
            async with asyncio.timeout(self._settings.first_token_seconds) as limit:
                stream: Any = await self._client.chat(**self._arguments(request))
                async with aclosing(stream) as parts:
                    await self._read(parts, answer, limit, on_delta)
        except TimeoutError as exc:
            raise ModelUnavailable(
                f"{self._where(request)} sent nothing for too long after {answer.pieces} piece(s); there is no reply.",
                hint="Try again; raise stall_seconds or first_token_seconds for a slow machine.",
            ) from exc
        except TreadleError:
            raise
        except (
            self._sdk.ResponseError,
            self._sdk.RequestError,
            self._http.HTTPError,
            self._http.StreamError,
            self._http.InvalidURL,
            ConnectionError,
            ValueError,
        ) as exc:
            raise await self._translated(exc, request, answer) from exc
        return answer.finished(request, self._where(request), time.monotonic() - began)

    async def close(self) -> None:
        await self._client.close()

    async def _read(
        self, parts: AsyncIterator[Any], answer: _Answer, limit: asyncio.Timeout, on_delta: OnDelta | None
    ) -> None:
        loop = asyncio.get_running_loop()
        async for part in parts:
            limit.reschedule(loop.time() + self._settings.stall_seconds)
            text = answer.add(part)
            if text and on_delta is not None:
                on_delta(text)

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        options: dict[str, Any] = {
            "num_ctx": self._settings.context,
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.stop:
            options["stop"] = list(request.stop)
        return {
            "model": request.model,
            "messages": _messages(request.messages),
            "tools": [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
                }
                for t in request.tools
            ],
            "format": request.json_schema,
            "options": options,
            "keep_alive": self._settings.idle_seconds,
            "stream": True,
        }

    def _where(self, request: ModelRequest) -> str:
        return f"Model {request.model!r} (ollama at {self._url})"

    async def _translated(self, exc: Exception, request: ModelRequest, answer: _Answer) -> TreadleError:
        where = self._where(request)
        if isinstance(exc, self._sdk.ResponseError):
            status = exc.status_code
            if status == 404:
                return UnknownName("model", request.model, await self._known())
            if status in (401, 403):
                return Refused(f"{where} refused ({status}): {exc.error}.", hint="Sign in, or use a local model.")
            # An error in the middle of a stream has no status of its own.
            if status in (-1, 408, 429) or status >= 500:
                return ModelUnavailable(f"{where} failed: {exc.error}; there is no reply.", hint="See Ollama's log.")
            return ModelError(f"{where} did not accept the request ({status}): {exc.error}.")
        if isinstance(exc, (self._http.HTTPError, self._http.StreamError, self._http.InvalidURL, ConnectionError)):
            state = f"broke off after {answer.pieces} piece(s)" if answer.pieces else "was not reached"
            return ModelUnavailable(
                f"{where} {state}: {str(exc) or type(exc).__name__}; there is no reply.",
                hint="Is Ollama running? Start it with `ollama serve`.",
            )
        return ModelError(f"{where} answered with something that is no reply: {exc}.")

    async def _known(self) -> list[str]:
        try:
            listed = await self._client.list()
        except (self._sdk.ResponseError, self._http.HTTPError, ConnectionError, ValueError):
            return []
        return [model.model for model in listed.models if model.model]


@dataclass(slots=True)
class _Answer:
    """What has arrived of an answer."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    done: str = ""
    pieces: int = 0

    def add(self, part: Any) -> str:
        """Take one part in; return the text it brought."""
        text = part.message.content or ""
        thinking = part.message.thinking or ""
        for call in part.message.tool_calls or ():
            name, arguments = call.function.name, dict(call.function.arguments)
            self.calls.append(ToolCall(id=f"call_{len(self.calls)}", name=name, arguments=arguments))
        if part.done:
            self.done = part.done_reason or "stop"
            self.usage = Usage(part.prompt_eval_count or 0, part.eval_count or 0)
        self.text.append(text)
        self.thinking.append(thinking)
        self.pieces += bool(text or thinking or part.message.tool_calls)
        return text

    def finished(self, request: ModelRequest, where: str, seconds: float) -> ModelReply:
        if not self.done:
            raise ModelUnavailable(
                f"{where} broke off after {self.pieces} piece(s); there is no reply.", hint="Try again."
            )
        return ModelReply(
            text="".join(self.text),
            model=request.model,
            finish_reason="tool_calls" if self.calls else _FINISH.get(self.done, "stop"),
            usage=self.usage,
            tool_calls=tuple(self.calls),
            thinking="".join(self.thinking),
            seconds=seconds,
        )


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write messages in Ollama's way: arguments are objects, and a tool's result names the tool instead of the call."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    told = []
    for message in messages:
        item: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "tool":
            item["tool_name"] = names.get(message.tool_call_id or "", "")
        if message.tool_calls:
            item["tool_calls"] = [{"function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls]
        told.append(item)
    return told
