"""Anthropic's messages, over the vendor's SDK. It takes no temperature and no seed, so those are not passed on."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from treadle.domain.messages import FinishReason, Image, Message, ModelRequest, Usage
from treadle.models.adapters.faults import Fault, of_body, watch
from treadle.models.adapters.streaming import CONNECT_SECONDS, KEEP_SECONDS, Answer, CallPieces, Patience, StreamedModel
from treadle.models.extras import require
from treadle.models.loopback import is_loopback

VENDOR_URL = "https://api.anthropic.com"
_OPAQUE = "anthropic"
_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refused",
}
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""Of errors in the middle of a stream, which have begun with 200."""


class AnthropicModel(StreamedModel):
    """Implements `ports.model.Model` with Anthropic's API. Signed thinking travels in `Message.opaque`."""

    def __init__(
        self,
        *,
        api_key: str,
        key_env: str = "ANTHROPIC_API_KEY",
        url: str = VENDOR_URL,
        first_token_seconds: float = 900.0,
        stall_seconds: float = 120.0,
    ) -> None:
        """Open nothing yet. Reads nothing from the environment, unlike the SDK by itself."""
        patience = Patience(first_token_seconds, stall_seconds)
        super().__init__("anthropic", url, key=api_key, key_env=key_env, patience=patience)
        self._sdk = require("anthropic", "anthropic")
        self._client = self._sdk.AsyncAnthropic(
            api_key=api_key or "none",
            base_url=url,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                trust_env=not is_loopback(url),
                timeout=httpx2.Timeout(patience.transport_seconds, connect=CONNECT_SECONDS),
                follow_redirects=True,
                limits=httpx2.Limits(keepalive_expiry=KEEP_SECONDS),
                event_hooks={"response": [watch(is_event_stream=True)]},
            ),
        )

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _open(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Any]]:
        stream = await self._client.messages.create(**self._arguments(request))
        try:
            yield stream
        finally:
            with suppress(httpx2.HTTPError, httpx2.StreamError):
                await stream.close()

    def _take(self, answer: Answer, piece: Any) -> str:
        if piece.type == "content_block_delta":
            return _take_delta(answer, piece.index, piece.delta)
        if piece.type == "content_block_start":
            _begin_block(answer, piece.index, piece.content_block)
        elif piece.type == "message_start":
            answer.model = piece.message.model
            answer.usage = _usage(piece.message.usage, answer.usage)
        elif piece.type == "message_delta":
            answer.usage = _usage(piece.usage, answer.usage)
            if piece.delta.stop_reason:
                answer.finish = _FINISH.get(piece.delta.stop_reason, "stop")
        elif piece.type == "message_stop":
            answer.opaque = _opaque(answer)
        return ""

    def _fault(self, exc: BaseException) -> Fault | None:
        if not isinstance(exc, self._sdk.APIStatusError):
            return None
        fault = of_body(exc.body)
        fault.status = _STATUS.get(fault.kind, 500)
        return fault

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens,
            "messages": _messages(request.messages),
            "stream": True,
        }
        output: dict[str, Any] = {}
        if system := "\n\n".join(message.content for message in request.messages if message.role == "system"):
            arguments["system"] = system
        if request.stop:
            arguments["stop_sequences"] = list(request.stop)
        if request.tools:
            arguments["tools"] = [
                {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
                for tool in request.tools
            ]
            arguments["tool_choice"] = _choice(request.tool_choice)
        if request.thinking == "off":
            arguments["thinking"] = {"type": "disabled"}
        elif request.thinking is not None:
            arguments["thinking"] = {"type": "adaptive", "display": "summarized"}
            output["effort"] = request.thinking
        if request.json_schema is not None:
            output["format"] = {"type": "json_schema", "schema": self._sdk.transform_schema(request.json_schema)}
        if output:
            arguments["output_config"] = output
        return arguments


@dataclass(slots=True)
class _Block:
    """One block of an answer. Blocks go back to the vendor as they came, if any of them is signed."""

    kind: str
    pieces: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    data: str = ""
    call: CallPieces | None = None

    def plain(self) -> dict[str, Any]:
        text = "".join(self.pieces)
        if self.kind == "thinking":
            return {"type": "thinking", "thinking": text, "signature": "".join(self.signature)}
        if self.kind == "redacted_thinking":
            return {"type": "redacted_thinking", "data": self.data}
        if self.call is not None:
            return {"type": "tool_use", "id": self.call.id, "name": self.call.name, "input": self.call.read() or {}}
        return {"type": "text", "text": text}


def _begin_block(answer: Answer, index: int, given: Any) -> None:
    block = answer.parts[index] = _Block(given.type)
    if given.type == "tool_use":
        block.call = answer.call_at(index, given.id, given.name)
        block.call.arguments = dict(given.input) or None
        answer.pieces += 1
    elif given.type == "redacted_thinking":
        block.data = given.data


def _take_delta(answer: Answer, index: int, delta: Any) -> str:
    answer.pieces += 1
    block: _Block = answer.parts[index]
    if delta.type == "text_delta":
        block.pieces.append(delta.text)
        answer.text.append(delta.text)
        return str(delta.text)
    if delta.type == "thinking_delta":
        block.pieces.append(delta.thinking)
        answer.thinking.append(delta.thinking)
    elif delta.type == "signature_delta":
        block.signature.append(delta.signature)
    elif delta.type == "input_json_delta" and block.call is not None:
        block.call.json.append(delta.partial_json)
    return ""


def _opaque(answer: Answer) -> dict[str, Any] | None:
    blocks = [block for _, block in sorted(answer.parts.items())]
    if not any(block.kind in ("thinking", "redacted_thinking") for block in blocks):
        return None
    return {_OPAQUE: [block.plain() for block in blocks if block.call or block.kind != "text" or any(block.pieces)]}


def _usage(usage: Any, before: Usage) -> Usage:
    """Read what was used so far. Anthropic counts what it read from its cache, and wrote there, apart."""
    cached = getattr(usage, "cache_read_input_tokens", None)
    written = getattr(usage, "cache_creation_input_tokens", None)
    fresh = getattr(usage, "input_tokens", None)
    if fresh is None:
        return replace(before, output_tokens=usage.output_tokens or before.output_tokens)
    cached, written = cached or before.cached_input_tokens, written or before.cache_write_tokens
    return Usage(fresh + cached + written, usage.output_tokens or 0, cached, written)


def _choice(choice: str) -> dict[str, str]:
    kinds = {"auto": "auto", "none": "none", "required": "any"}
    return {"type": kinds[choice]} if choice in kinds else {"type": "tool", "name": choice}


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write messages in Anthropic's way: roles take turns, and results of tools are the user's."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        turns[-1]["content"].extend(_content(message))
    return turns


def _content(message: Message) -> list[dict[str, Any]]:
    if message.opaque and _OPAQUE in message.opaque:
        return list(message.opaque[_OPAQUE])
    # Empty text is refused there.
    text = [{"type": "text", "text": message.content}] if message.content else []
    images = [_image(image) for image in message.images]
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": [*text, *images]}]
    calls = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in message.tool_calls]
    return [*images, *text, *calls]


def _image(image: Image) -> dict[str, Any]:
    data = base64.b64encode(image.data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": data}}
