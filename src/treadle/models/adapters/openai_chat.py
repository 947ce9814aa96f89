"""Any server that speaks OpenAI's chat completions: llama.cpp, vLLM, OpenRouter, OpenAI itself."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2

from treadle.domain.messages import FinishReason, Image, Message, ModelRequest, ToolDefinition, Usage
from treadle.models.adapters.faults import Fault, chain, of_body, watch
from treadle.models.adapters.streaming import CONNECT_SECONDS, KEEP_SECONDS, Answer, Patience, StreamedModel
from treadle.models.extras import require
from treadle.models.loopback import is_loopback

_OPAQUE = "openai"
_THINKING = ("reasoning_content", "reasoning")
"""Where servers put it. Some want it back there while tools are being called, others refuse a name that they lack."""
_OPTIONAL = {"temperature", "seed", "reasoning_effort"}
"""What is left out for models that refuse it: those of OpenAI that think take no temperature."""
_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refused",
}


class OpenAIChat(StreamedModel):
    """Implements `ports.model.Model` over one base URL."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str = "",
        key_env: str = "",
        provider: str = "openai",
        first_token_seconds: float = 900.0,
        stall_seconds: float = 120.0,
        trust_env: bool | None = None,
        extra: str = "openai",
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        """Open nothing yet.

        Args:
            first_token_seconds: How long the server may be silent before its answer begins.
            stall_seconds: How long it may be silent in the middle of an answer.
            trust_env: Whether proxies named in the environment are used. Default: not for loopback.
            extra: The extra that is named if the openai package is missing.
            keep_seconds: How long an idle connection is kept for the next request.
        """
        patience = Patience(first_token_seconds, stall_seconds)
        super().__init__(provider, base_url, key=api_key, key_env=key_env, patience=patience)
        self._is_vendor = urlsplit(base_url).hostname == "api.openai.com"
        self._unwanted: dict[str, set[str]] = {}
        self._openai = require("openai", extra)
        self._client = self._openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,
            http_client=httpx2.AsyncClient(
                trust_env=not is_loopback(base_url) if trust_env is None else trust_env,
                timeout=httpx2.Timeout(patience.transport_seconds, connect=CONNECT_SECONDS),
                follow_redirects=True,
                limits=httpx2.Limits(keepalive_expiry=keep_seconds),
                event_hooks={"response": [watch(is_event_stream=True)]},
            ),
        )

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _open(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Any]]:
        stream = await self._asked(self._arguments(request))
        try:
            yield stream
        finally:
            with suppress(httpx2.HTTPError, httpx2.StreamError):
                await stream.close()

    async def _asked(self, arguments: dict[str, Any]) -> Any:
        """Ask without what this model is known not to take. A refusal for that is free, so it may be asked again."""
        unwanted = self._unwanted.setdefault(arguments["model"], set())
        while True:
            try:
                wanted = {name: value for name, value in arguments.items() if name not in unwanted}
                return await self._client.chat.completions.create(**wanted)
            except (Fault, self._openai.APIError) as exc:
                fault = next((cause for cause in chain(exc) if isinstance(cause, Fault)), None)
                if fault is None or fault.status != 400 or fault.param not in _OPTIONAL & wanted.keys():
                    raise
                unwanted.add(fault.param)

    def _take(self, answer: Answer, piece: Any) -> str:
        answer.model = getattr(piece, "model", "") or answer.model
        if (usage := getattr(piece, "usage", None)) is not None:
            answer.usage = _usage(usage)
        if not piece.choices:
            return ""
        choice = piece.choices[0]
        if choice.finish_reason and choice.finish_reason != "error":  # OpenRouter's, for an upstream that broke off
            answer.finish = _FINISH.get(choice.finish_reason, "stop")
        delta = choice.delta
        refusal = getattr(delta, "refusal", None)
        text: str = delta.content or refusal or ""
        beyond = delta.model_extra  # of the vendor's own type; asking it for what it lacks takes ten times as long
        field = next((name for name in _THINKING if beyond.get(name)), "") if beyond else ""
        thinking = beyond[field] if field else ""
        if field and answer.opaque is None:
            answer.opaque = {_OPAQUE: {"url": self._url, "field": field}}
        answer.is_refusal = answer.is_refusal or bool(refusal)
        for call in delta.tool_calls or ():
            said = call.function
            known = answer.call_at(call.index, call.id or "", (said and said.name) or "")
            known.json.append((said and said.arguments) or "")
        answer.text.append(text)
        answer.thinking.append(thinking)
        answer.pieces += bool(text or thinking or delta.tool_calls)
        return text

    def _fault(self, exc: BaseException) -> Fault | None:
        if isinstance(exc, self._openai.APIError) and isinstance(exc.body, Mapping):
            return of_body(exc.body, getattr(exc, "status_code", 500))
        return None

    def _arguments(self, request: ModelRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": request.model,
            "messages": list(_messages(request.messages, self._url)),
            "max_completion_tokens" if self._is_vendor else "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.stop:
            arguments["stop"] = list(request.stop)
        if request.tools:
            arguments["tools"] = [_tool(tool) for tool in request.tools]
            arguments["tool_choice"] = _choice(request.tool_choice)
        if request.json_schema is not None:
            schema = {"name": "answer", "schema": request.json_schema, "strict": _is_strict(request.json_schema)}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.thinking is not None:
            arguments["reasoning_effort"] = "none" if request.thinking == "off" else request.thinking
            if not self._is_vendor:  # what llama.cpp and vLLM hand to the template of the model
                arguments["extra_body"] = {"chat_template_kwargs": {"enable_thinking": request.thinking != "off"}}
        return arguments


def _usage(usage: Any) -> Usage:
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, getattr(details, "cached_tokens", None) or 0)


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _choice(choice: str) -> str | dict[str, Any]:
    named = {"type": "function", "function": {"name": choice}}
    return choice if choice in ("auto", "none", "required") else named


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI takes it as strict: each object names all its members as required, and no others are allowed."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    members = schema.get("properties")
    is_object = schema.get("type") == "object" or members is not None
    is_closed = schema.get("additionalProperties") is False
    if is_object and not (is_closed and set(schema.get("required", ())) == set(members or ())):
        return False
    return all(map(_is_strict, schema.values()))


def _messages(messages: tuple[Message, ...], url: str) -> Iterator[dict[str, Any]]:
    """Write messages in OpenAI's way. A tool's result may hold no images there, so they follow the results."""
    shown: list[Image] = []
    for message in messages:
        if message.role != "tool" and shown:
            yield {"role": "user", "content": [_image(image) for image in shown]}
            shown = []
        if message.role == "tool":
            shown.extend(message.images)
        yield _message(message, url)
    if shown:
        yield {"role": "user", "content": [_image(image) for image in shown]}


def _message(message: Message, url: str) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        told["tool_call_id"] = message.tool_call_id or ""
    elif message.images:
        text = [{"type": "text", "text": message.content}] if message.content else []
        told["content"] = [*text, *map(_image, message.images)]
    if message.tool_calls:
        known = (message.opaque or {}).get(_OPAQUE, {})
        if message.thinking and known.get("url") == url:
            told[known["field"]] = message.thinking
        told["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return told


def _image(image: Image) -> dict[str, Any]:
    url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
