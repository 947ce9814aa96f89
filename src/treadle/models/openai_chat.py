"""Any server that speaks OpenAI's chat completions: llama.cpp, vLLM, OpenRouter, OpenAI itself.

Always streams, never retries: whether to ask again is decided above, where it is known what was recorded.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from treadle.domain.messages import FinishReason, Message, ModelReply, ModelRequest, ToolCall, Usage
from treadle.errors import ConfigError, ModelError, ModelUnavailable, Refused, TreadleError, UnknownName
from treadle.models.extras import require
from treadle.ports.model import OnDelta

_CONNECT_SECONDS = 5.0
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


class OpenAIChat:
    """Implements `ports.model.Model` over one base URL."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        provider: str = "openai",
        first_token_seconds: float = 900.0,
        stall_seconds: float = 120.0,
        trust_env: bool = True,
        extra: str = "openai",
    ) -> None:
        """Open nothing yet.

        Args:
            first_token_seconds: How long the server may be silent before its answer begins.
            stall_seconds: How long it may be silent in the middle of an answer.
            trust_env: Whether proxies named in the environment are used; wrong for loopback.
            extra: The extra that is named if the openai package is missing.
        """
        self._provider = provider
        self._base_url = base_url
        self._first_token_seconds = first_token_seconds
        self._stall_seconds = stall_seconds
        self._openai = require("openai", extra)
        # The silence that counts is measured below, in pieces of the answer: a server's keep-alive comments are no sign
        # of progress. The transport only has to outlast it.
        silence = max(first_token_seconds, stall_seconds) + 30
        self._http = httpx2.AsyncClient(
            trust_env=trust_env,
            timeout=httpx2.Timeout(silence, connect=_CONNECT_SECONDS),
            follow_redirects=True,
            # A connection that the server is just closing would lose a request that nobody may repeat; beside an
            # answer a new connection costs nothing.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        self._client = self._openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", max_retries=0, http_client=self._http
        )

    @property
    def provider(self) -> str:
        return self._provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request: see `ports.model.Model.reply`."""
        began = time.monotonic()
        answer = _Answer()
        try:
            async with asyncio.timeout(self._first_token_seconds) as limit:
                stream = await self._client.chat.completions.create(**_arguments(request))
                try:
                    await self._read(stream, answer, limit, on_delta)
                finally:
                    # Closing the connection is what tells the server to stop.
                    with suppress(httpx2.HTTPError, httpx2.StreamError):
                        await stream.close()
        except TimeoutError as exc:
            seconds = self._stall_seconds if answer.pieces else self._first_token_seconds
            raise ModelUnavailable(
                f"{self._where(request)} sent nothing for {seconds:g} s after {answer.pieces} piece(s); "
                "there is no reply.",
                hint="Try again; raise stall_seconds or first_token_seconds for a slow machine.",
            ) from exc
        except TreadleError:
            raise
        except (self._openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, ValueError) as exc:
            raise self._translated(exc, request, answer) from exc
        return answer.finished(request, self._where(request), time.monotonic() - began)

    async def close(self) -> None:
        await self._client.close()

    async def _read(
        self, stream: AsyncIterator[Any], answer: _Answer, limit: asyncio.Timeout, on_delta: OnDelta | None
    ) -> None:
        loop = asyncio.get_running_loop()
        async for chunk in stream:
            text = answer.add(chunk)
            # The first chunk of many servers only names the role and comes before they have read the prompt.
            if answer.pieces:
                limit.reschedule(loop.time() + self._stall_seconds)
            if text and on_delta is not None:
                on_delta(text)

    def _where(self, request: ModelRequest) -> str:
        return f"Model {request.model!r} ({self._provider} at {self._base_url})"

    def _translated(self, exc: Exception, request: ModelRequest, answer: _Answer) -> TreadleError:
        """Say in our words what went wrong. Every class of the openai package has its row; a test sees to that."""
        where = self._where(request)
        api = self._openai
        if isinstance(exc, httpx2.InvalidURL):
            return ConfigError(f"The address {self._base_url!r} is none: {exc}.", hint="Correct openai_base_url.")
        if isinstance(exc, api.APITimeoutError):
            return ModelUnavailable(f"{where} did not answer in time; there is no reply.", hint="Try again.")
        if isinstance(exc, (api.APIConnectionError, httpx2.HTTPError, httpx2.StreamError)):
            state = f"broke off after {answer.pieces} piece(s)" if answer.pieces else "was not reached"
            cause = str(exc.__cause__ or exc) or type(exc).__name__
            return ModelUnavailable(f"{where} {state}: {cause}; there is no reply.", hint="Is the server running?")
        if isinstance(exc, api.APIStatusError):
            return _of_status(exc, where, request)
        return ModelError(f"{where} answered with something that is no reply: {_short(exc)}.")


@dataclass(slots=True)
class _Answer:
    """What has arrived of an answer."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish: str = ""
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    pieces: int = 0

    def add(self, chunk: Any) -> str:
        """Take one chunk in; return the text it brought."""
        self.model = getattr(chunk, "model", "") or self.model
        if (usage := getattr(chunk, "usage", None)) is not None:
            self.usage = Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self.finish = choice.finish_reason or self.finish
        text = choice.delta.content or ""
        thinking = getattr(choice.delta, "reasoning_content", None) or getattr(choice.delta, "reasoning", None) or ""
        for call in choice.delta.tool_calls or ():
            self._add_call(call)
        self.text.append(text)
        self.thinking.append(thinking)
        self.pieces += bool(text or thinking or choice.delta.tool_calls)
        return text

    def _add_call(self, call: Any) -> None:
        # Some servers leave out the index; then a new id begins a new call.
        index = call.index if call.index is not None else len(self.calls) - (0 if call.id else 1)
        known = self.calls.setdefault(max(index, 0), {"id": "", "name": "", "arguments": ""})
        known["id"] = call.id or known["id"]
        if call.function is not None:
            known["name"] += call.function.name or ""
            known["arguments"] += call.function.arguments or ""

    def finished(self, request: ModelRequest, where: str, seconds: float) -> ModelReply:
        if self.finish == "content_filter":
            raise ModelError(f"{where} refused to answer (content filter); there is no reply.")
        if not self.finish:
            raise ModelUnavailable(
                f"{where} broke off after {self.pieces} piece(s); there is no reply.", hint="Try again."
            )
        calls = tuple(_tool_call(index, call, where) for index, call in sorted(self.calls.items()))
        finish = "tool_calls" if calls and self.finish == "stop" else _FINISH.get(self.finish, "stop")
        return ModelReply(
            text="".join(self.text),
            model=self.model or request.model,
            finish_reason=finish,
            usage=self.usage,
            tool_calls=calls,
            thinking="".join(self.thinking),
            seconds=seconds,
        )


def _tool_call(index: int, call: dict[str, str], where: str) -> ToolCall:
    try:
        # Small models put line breaks into strings; that much can be forgiven without guessing.
        arguments = json.loads(call["arguments"] or "{}", strict=False)
    except ValueError as exc:
        raise ModelError(
            f"{where} called tool {call['name']!r} with broken JSON: {call['arguments'][:200]!r}."
        ) from exc
    if not isinstance(arguments, dict):
        raise ModelError(f"{where} called tool {call['name']!r} with {arguments!r} instead of an object.")
    return ToolCall(id=call["id"] or f"call_{index}", name=call["name"], arguments=arguments)


def _of_status(exc: Any, where: str, request: ModelRequest) -> TreadleError:
    status: int = exc.status_code
    said = _short(exc)
    if status in (401, 403):
        return Refused(
            f"{where} refused the key ({status}): {said}.", hint="Check the variable named by openai_api_key_env."
        )
    if status == 404:
        error = UnknownName("model", request.model, ())
        error.hint = f"{where} says: {said}."
        return error
    if status in (408, 409, 425, 429) or status >= 500:
        return ModelUnavailable(f"{where} answered {status}: {said}; there is no reply.", hint="Try again in a while.")
    hint = "Shorten the prompt, or raise the context." if "context" in said.lower() else ""
    return ModelError(f"{where} did not accept the request ({status}): {said}.", hint=hint)


def _short(exc: Exception) -> str:
    body = getattr(exc, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return str(said or exc).strip().rstrip(".")[:500]


def _arguments(request: ModelRequest) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": request.model,
        "messages": [_message(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.stop:
        arguments["stop"] = list(request.stop)
    if request.tools:
        arguments["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    if request.json_schema is not None:
        schema = {"name": "answer", "schema": request.json_schema, "strict": True}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _message(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        told["tool_call_id"] = message.tool_call_id or ""
    if message.tool_calls:
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return told
