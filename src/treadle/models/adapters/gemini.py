"""Google's Gemini, over google-genai. Not over its OpenAI-style address: that one loses signatures of thinking."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import httpx2

from treadle.domain.messages import FinishReason, Image, Message, ModelRequest, Usage
from treadle.models.adapters.faults import Fault, of_body, watch
from treadle.models.adapters.streaming import CONNECT_SECONDS, KEEP_SECONDS, Answer, CallPieces, Patience, StreamedModel
from treadle.models.extras import require
from treadle.models.loopback import is_loopback

VENDOR_URL = "https://generativelanguage.googleapis.com/"
_OPAQUE = "gemini"
_FINISH: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "refused",
    "RECITATION": "refused",
    "LANGUAGE": "refused",
    "BLOCKLIST": "refused",
    "PROHIBITED_CONTENT": "refused",
    "SPII": "refused",
    "IMAGE_SAFETY": "refused",
    "IMAGE_PROHIBITED_CONTENT": "refused",
    "MODEL_ARMOR": "refused",
}
_BROKEN_CALL = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"}


_OPENED: ContextVar[list[Any]] = ContextVar("gemini_opened")
"""Where the responses of the request under way are noted, so that they can be closed."""


async def _note(response: Any) -> None:
    _OPENED.get().append(response)


class GeminiModel(StreamedModel):
    """Implements `ports.model.Model` with Gemini's API. Signatures of thinking travel in `Message.opaque`."""

    def __init__(
        self,
        *,
        api_key: str,
        key_env: str = "GEMINI_API_KEY",
        url: str = VENDOR_URL,
        first_token_seconds: float = 900.0,
        stall_seconds: float = 120.0,
    ) -> None:
        """Open nothing yet. Asks Gemini's own API, never Google Cloud, whatever the environment says."""
        patience = Patience(first_token_seconds, stall_seconds)
        super().__init__("gemini", url, key=api_key, key_env=key_env, patience=patience)
        sdk = require("google.genai", "gemini")
        self._error: type[Exception] = require("google.genai.errors", "gemini").APIError
        self._http = httpx2.AsyncClient(
            trust_env=not is_loopback(url),
            timeout=httpx2.Timeout(patience.transport_seconds, connect=CONNECT_SECONDS),
            follow_redirects=True,
            limits=httpx2.Limits(keepalive_expiry=KEEP_SECONDS),
            event_hooks={"response": [_note, watch(is_event_stream=True)]},
        )
        milliseconds = int(patience.transport_seconds * 1000)
        options = {
            "base_url": url,
            "httpx_async_client": self._http,
            "timeout": milliseconds,
            "retry_options": {"attempts": 1},
        }
        self._sdk = sdk.Client(api_key=api_key or "none", vertexai=False, http_options=options)

    async def close(self) -> None:
        await self._http.aclose()
        self._sdk.close()

    @asynccontextmanager
    async def _open(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Any]]:
        opened: list[Any] = []
        _OPENED.set(opened)
        stream = await self._sdk.aio.models.generate_content_stream(
            model=request.model, contents=_contents(request.messages), config=_config(request)
        )
        try:
            async with aclosing(stream) as parts:
                yield parts
        finally:
            # The generators within the SDK's would close it only when they are collected.
            for response in opened:
                await response.aclose()

    def _take(self, answer: Answer, piece: Any) -> str:
        answer.model = piece.model_version or answer.model
        if piece.usage_metadata is not None:
            answer.usage = _usage(piece.usage_metadata)
        if not piece.candidates:
            if piece.prompt_feedback is not None and piece.prompt_feedback.block_reason:
                answer.finish = "refused"
            return ""
        candidate = piece.candidates[0]
        parts = (candidate.content and candidate.content.parts) or ()
        text = "".join(_take_part(answer, part) for part in parts)
        answer.pieces += bool(parts)
        if candidate.finish_reason is not None:
            _finish(answer, candidate)
        return text

    def _fault(self, exc: BaseException) -> Fault | None:
        if not isinstance(exc, self._error):
            return None
        code = getattr(exc, "code", None)
        return of_body(getattr(exc, "details", None), code if isinstance(code, int) else 500)


def _config(request: ModelRequest) -> dict[str, Any]:
    config: dict[str, Any] = {
        "temperature": request.temperature,
        "seed": request.seed,
        "max_output_tokens": request.max_tokens,
        # Both would ask again on their own.
        "automatic_function_calling": {"disable": True},
        "automatic_continuation": False,
    }
    if system := "\n\n".join(message.content for message in request.messages if message.role == "system"):
        config["system_instruction"] = system
    if request.stop:
        config["stop_sequences"] = list(request.stop)
    if request.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parameters_json_schema": tool.parameters}
            for tool in request.tools
        ]
        config["tools"] = [{"function_declarations": declared}]
        config["tool_config"] = {"function_calling_config": _choice(request.tool_choice)}
    if request.json_schema is not None:
        config |= {"response_mime_type": "application/json", "response_json_schema": request.json_schema}
    if request.thinking == "off":
        config["thinking_config"] = {"thinking_budget": 0}
    elif request.thinking is not None:
        config["thinking_config"] = {"thinking_level": request.thinking, "include_thoughts": True}
    return config


def _contents(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write messages in Gemini's way: roles take turns, and results of tools are the user's.

    As plain values: the SDK's own types take it longer to check.
    """
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for message in messages:
        if message.role == "system":
            continue
        names.update((call.id, call.name) for call in message.tool_calls)
        role = "model" if message.role == "assistant" else "user"
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "parts": []})
        turns[-1]["parts"].extend(_result(message, names) if message.role == "tool" else _parts(message))
    return turns


def _parts(message: Message) -> list[dict[str, Any]]:
    signed = (message.opaque or {}).get(_OPAQUE, {})
    parts = [_image(image) for image in message.images]
    if message.content or "text" in signed:
        parts.append({"text": message.content, **_signature(signed.get("text"))})
    for number, call in enumerate(message.tool_calls):
        wanted = {"id": call.id, "name": call.name, "args": call.arguments}
        parts.append({"function_call": wanted, **_signature(signed.get("calls", {}).get(str(number)))})
    return parts


def _result(message: Message, names: Mapping[str, str]) -> list[dict[str, Any]]:
    id = message.tool_call_id or ""
    told: dict[str, Any] = {"id": id, "name": names.get(id, ""), "response": _object(message.content)}
    if message.images:
        told["parts"] = [_image(image) for image in message.images]
    return [{"function_response": told}]


def _image(image: Image) -> dict[str, Any]:
    return {"inline_data": {"data": image.data, "mime_type": image.media_type}}


def _take_part(answer: Answer, part: Any) -> str:
    """Take one part in; return the text it brought."""
    text = part.text or ""
    if part.thought:
        answer.thinking.append(text)
        return ""
    if part.function_call is not None:
        call = part.function_call
        answer.calls.append(CallPieces(call.id or "", call.name or "", arguments=dict(call.args or {})))
    if part.thought_signature:
        signature = base64.b64encode(part.thought_signature).decode()
        answer.opaque = answer.opaque or {_OPAQUE: {"calls": {}}}
        if part.function_call is not None:
            answer.opaque[_OPAQUE]["calls"][str(len(answer.calls) - 1)] = signature
        else:
            answer.opaque[_OPAQUE]["text"] = signature
    answer.text.append(text)
    return str(text)


def _finish(answer: Answer, candidate: Any) -> None:
    reason = getattr(candidate.finish_reason, "value", str(candidate.finish_reason))
    if reason in _BROKEN_CALL:
        answer.calls.append(CallPieces(json=[candidate.finish_message or reason]))
        answer.finish = "tool_calls"
    elif reason in _FINISH:
        answer.finish = _FINISH[reason]
    elif reason != "FINISH_REASON_UNSPECIFIED":
        raise Fault(400, f"it ended with {reason}: {candidate.finish_message or 'no reason given'}")


def _usage(usage: Any) -> Usage:
    return Usage(
        (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
        usage.cached_content_token_count or 0,
    )


def _choice(choice: str) -> dict[str, Any]:
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    return {"mode": modes[choice]} if choice in modes else {"mode": "ANY", "allowed_function_names": [choice]}


def _object(content: str) -> dict[str, Any]:
    """A tool's result must be an object there."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"output": content}


def _signature(signature: str | None) -> dict[str, bytes]:
    return {"thought_signature": base64.b64decode(signature)} if signature else {}
