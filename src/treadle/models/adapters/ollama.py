"""Ollama over its own API, because its OpenAI-style one takes neither a context size nor a time to keep a model."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from treadle.domain.messages import FinishReason, Message, ModelRequest, ToolDefinition, Usage
from treadle.models.adapters.faults import Fault, watch
from treadle.models.adapters.streaming import CONNECT_SECONDS, KEEP_SECONDS, Answer, CallPieces, Patience, StreamedModel
from treadle.models.extras import require
from treadle.models.loopback import is_loopback
from treadle.settings import ModelSettings

_FINISH: dict[str, FinishReason] = {"length": "length"}


class OllamaModel(StreamedModel):
    """Implements `ports.model.Model` with an Ollama server.

    The context of a model is the same for every request: with another one Ollama loads the model anew.
    A tool cannot be forced here: with `tool_choice` naming one, only that one is offered.
    """

    def __init__(
        self,
        settings: ModelSettings,
        *,
        url: str = "",
        contexts: Mapping[str, int] | None = None,
        keep_alive: float | str | None = None,
        api_key: str = "",
        key_env: str = "",
    ) -> None:
        """Open nothing yet.

        Args:
            url: Default: `settings.ollama_url`.
            contexts: Tokens by the name that the server knows. Default: `settings.context` for all.
            keep_alive: How long a model stays loaded after an answer: seconds, a duration such as `10m`, -1 for ever.
                Default: `settings.idle_seconds`.
        """
        self._settings = settings
        self._contexts = contexts or {}
        self._keep_alive = settings.idle_seconds if keep_alive is None else keep_alive
        patience = Patience(settings.first_token_seconds, settings.stall_seconds)
        super().__init__("ollama", url or settings.ollama_url, key=api_key, key_env=key_env, patience=patience)
        self._sdk = require("ollama", "ollama")
        # Ollama's package brings this one; ours is httpx2.
        http = require("httpx", "ollama")
        self._errors = (self._sdk.ResponseError, http.HTTPError, ConnectionError, ValueError, Fault)
        self._client = self._sdk.AsyncClient(
            host=self._url,
            timeout=http.Timeout(patience.transport_seconds, connect=CONNECT_SECONDS),
            trust_env=not is_loopback(self._url),
            limits=http.Limits(keepalive_expiry=KEEP_SECONDS),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            event_hooks={"response": [watch(is_event_stream=False)]},
        )

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _open(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Any]]:
        # Not `chat`: its types leave out what they do not know, such as objects within the arguments of a tool, and
        # the ids of calls.
        body = self._body(request)
        stream = await self._client._request(dict, "POST", "/api/chat", json=body, stream=True)
        async with aclosing(stream) as parts:
            yield parts

    def _take(self, answer: Answer, piece: dict[str, Any]) -> str:
        message = piece.get("message") or {}
        text: str = message.get("content") or ""
        thinking = message.get("thinking") or ""
        calls = message.get("tool_calls") or ()
        for call in calls:
            function = call["function"]
            arguments = function.get("arguments") or {}
            known = CallPieces(call.get("id") or "", function["name"])
            if isinstance(arguments, dict):
                known.arguments = arguments
            else:
                known.json.append(str(arguments))
            answer.calls.append(known)
        if piece.get("done"):
            answer.finish = _FINISH.get(piece.get("done_reason") or "stop", "stop")
            answer.usage = Usage(piece.get("prompt_eval_count") or 0, piece.get("eval_count") or 0)
        answer.text.append(text)
        answer.thinking.append(thinking)
        answer.pieces += bool(text or thinking or calls)
        return text

    def _fault(self, exc: BaseException) -> Fault | None:
        # An error in the middle of a stream has no status of its own.
        return Fault(500, exc.error) if isinstance(exc, self._sdk.ResponseError) else None

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        options: dict[str, Any] = {
            "num_ctx": self._contexts.get(request.model, self._settings.context),
            "num_predict": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.stop:
            options["stop"] = list(request.stop)
        body: dict[str, Any] = {
            "model": request.model,
            "messages": _messages(request.messages),
            "options": options,
            "keep_alive": self._keep_alive,
            "stream": True,
        }
        if tools := [_tool(tool) for tool in request.tools if request.tool_choice in ("auto", "required", tool.name)]:
            body["tools"] = tools
        if request.json_schema is not None:
            body["format"] = request.json_schema
        if request.thinking is not None:
            # Only gpt-oss knows levels; others refuse a word that is not true or false.
            has_levels = "gpt-oss" in request.model
            body["think"] = request.thinking if has_levels and request.thinking != "off" else request.thinking != "off"
        return body

    async def _known(self) -> list[str]:
        try:
            listed = await self._client.list()
        except self._errors:
            return []
        return [model.model for model in listed.models if model.model]


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _messages(messages: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Write messages in Ollama's way: arguments are objects, and a tool's result names the tool besides the call."""
    names: dict[str, str] = {}  # as they stand so far: where a server gives no ids, ours begin anew in each answer
    told = []
    for message in messages:
        names.update((call.id, call.name) for call in message.tool_calls)
        item: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "tool":
            item["tool_name"] = names.get(message.tool_call_id or "", "")
            item["tool_call_id"] = message.tool_call_id or ""
        if message.thinking:
            item["thinking"] = message.thinking
        if message.images:
            item["images"] = [base64.b64encode(image.data).decode() for image in message.images]
        if message.tool_calls:
            item["tool_calls"] = [
                {"id": c.id, "function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls
            ]
        told.append(item)
    return told
