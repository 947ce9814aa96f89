"""OpenAI's chat completions as JSON: requests into our messages, replies out of them. No I/O."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from treadle.domain.messages import (
    FinishReason,
    Image,
    Message,
    ModelReply,
    ModelRequest,
    Role,
    Thinking,
    ToolCall,
    ToolDefinition,
)  # fmt: skip
from treadle.errors import (
    ModelError,
    ModelTooLarge,
    ModelUnavailable,
    RateLimited,
    Refused,
    TreadleError,
    UnknownName,
    UsageError,
)  # fmt: skip

MAX_TOKENS = 4096
"""Of an answer whose request sets no bound."""
PRIORITY = "priority"
"""OpenAI's `service_tier` of requests before which somebody sits."""

_ROLES: Mapping[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip
_EFFORT: Mapping[str, Thinking] = {
    "none": "off", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high",
}  # fmt: skip
_FINISH: Mapping[FinishReason, str] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "refused": "content_filter", "cancelled": "stop",
}  # fmt: skip
_STATUS: tuple[tuple[type[TreadleError], int, str], ...] = (
    (UnknownName, 404, "not_found_error"),
    (UsageError, 400, "invalid_request_error"),
    (ModelTooLarge, 400, "invalid_request_error"),
    (Refused, 403, "permission_error"),
    (RateLimited, 429, "rate_limit_error"),
    (ModelUnavailable, 503, "service_unavailable"),
    (ModelError, 502, "upstream_error"),
)


def read_request(body: Any) -> ModelRequest:
    """Read the body of a chat completion. What we do not know is left aside. Raises UsageError."""
    if not isinstance(body, dict):
        raise UsageError("The body is no JSON object; nothing was asked.")
    model = _typed(body, "model", str, "")
    if not model:
        raise UsageError("model is missing; nothing was asked.", hint="GET /v1/models lists the names.")
    if _typed(body, "n", int, 1) != 1:
        raise UsageError("n is not 1; one answer per request is what can be had.")
    messages = _typed(body, "messages", list, [])
    if not messages:
        raise UsageError("messages is empty; nothing was asked.")
    tokens = body.get("max_completion_tokens") or body.get("max_tokens") or MAX_TOKENS
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise UsageError(f"max_tokens is {tokens!r}; a number from 1 is expected.")
    effort = _typed(body, "reasoning_effort", str, None)
    return ModelRequest(
        model,
        tuple(_message(f"messages[{index}]", message) for index, message in enumerate(messages)),
        tools=tuple(_tool(f"tools[{index}]", tool) for index, tool in enumerate(_typed(body, "tools", list, []))),
        max_tokens=tokens,
        temperature=float(_typed(body, "temperature", (int, float), 0.0)),
        seed=_typed(body, "seed", int, 0),
        stop=_stop(body.get("stop")),
        json_schema=_schema(body.get("response_format")),
        tool_choice=_choice(body.get("tool_choice")),
        thinking=_EFFORT.get(effort) if effort is not None else None,
    )


def is_interactive(body: Mapping[str, Any]) -> bool:
    return body.get("service_tier") == PRIORITY


def completion(reply: ModelReply, number: str, created: int) -> dict[str, Any]:
    """Write a whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.thinking:
        message["reasoning_content"] = reply.thinking
    if reply.tool_calls:
        message["tool_calls"] = [_call(index, call) for index, call in enumerate(reply.tool_calls)]
    choice = {"index": 0, "message": message, "finish_reason": _FINISH[reply.finish_reason]}
    return {
        "id": number, "object": "chat.completion", "created": created, "model": reply.model, "choices": [choice],
        "usage": _usage(reply),
    }  # fmt: skip


def chunk(model: str, number: str, created: int, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    """Write a piece of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": number, "object": "chat.completion.chunk", "created": created, "model": model, "choices": [choice],
    }  # fmt: skip


def last_chunks(reply: ModelReply, number: str, created: int, *, with_usage: bool) -> list[dict[str, Any]]:
    """Write what follows the text of a stream: thinking, calls of tools, why it ends, and what it took."""
    chunks = []
    if reply.thinking:
        chunks.append(chunk(reply.model, number, created, {"reasoning_content": reply.thinking}))
    if reply.tool_calls:
        calls = [_call(index, call) for index, call in enumerate(reply.tool_calls)]
        chunks.append(chunk(reply.model, number, created, {"tool_calls": calls}))
    chunks.append(chunk(reply.model, number, created, {}, _FINISH[reply.finish_reason]))
    if with_usage:
        chunks.append({**chunk(reply.model, number, created, {}), "choices": [], "usage": _usage(reply)})
    return chunks


def failure(error: TreadleError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Write an error: status, body, headers."""
    status, kind = next(((s, k) for of, s, k in _STATUS if isinstance(error, of)), (500, "server_error"))
    headers = {}
    if isinstance(error, ModelUnavailable) and error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    message = error.with_hint
    return status, {"error": {"message": message, "type": kind, "code": error.code, "param": None}}, headers


def _usage(reply: ModelReply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
    }  # fmt: skip


def _call(index: int, call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"index": index, "id": call.id, "type": "function", "function": function}


def _message(where: str, value: Any) -> Message:
    table = _object(where, value)
    role = _ROLES.get(_typed(table, "role", str, "", where))
    if role is None:
        raise UsageError(f"{where}.role is {table.get('role')!r}; one of {', '.join(_ROLES)} is expected.")
    text, images = _content(f"{where}.content", table.get("content"))
    calls = _typed(table, "tool_calls", list, [], where)
    return Message(
        role,
        text,
        tuple(_read_call(f"{where}.tool_calls[{index}]", call) for index, call in enumerate(calls)),
        _typed(table, "tool_call_id", str, None, where),
        images,
        thinking=_typed(table, "reasoning_content", str, "", where),
    )


def _content(where: str, value: Any) -> tuple[str, tuple[Image, ...]]:
    if value is None or isinstance(value, str):
        return value or "", ()
    if not isinstance(value, list):
        raise UsageError(f"{where} is neither a text nor a list of parts.")
    texts, images = [], []
    for index, part in enumerate(value):
        place = f"{where}[{index}]"
        table = _object(place, part)
        kind = table.get("type")
        if kind == "text":
            texts.append(_typed(table, "text", str, "", place))
        elif kind == "image_url":
            images.append(_image(place, _object(f"{place}.image_url", table.get("image_url"))))
        else:
            raise UsageError(f"{place}.type is {kind!r}; text and image_url are understood.")
    return "\n".join(texts), tuple(images)


def _image(where: str, table: Mapping[str, Any]) -> Image:
    url = _typed(table, "url", str, "", where)
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise UsageError(
            f"{where} is no data: URL; nothing is fetched from the net.", hint="Send data:image/png;base64,..."
        )
    try:
        return Image(head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(data, validate=True))
    except binascii.Error as exc:
        raise UsageError(f"{where} is not base64: {exc}.") from exc


def _read_call(where: str, value: Any) -> ToolCall:
    table = _object(where, value)
    function = _object(f"{where}.function", table.get("function"))
    arguments = _typed(function, "arguments", str, "", where)
    try:
        parsed = json.loads(arguments or "{}")
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{where}.function.arguments is no JSON.") from exc
    return ToolCall(_typed(table, "id", str, "", where), _name(where, function), _object(f"{where} arguments", parsed))


def _tool(where: str, value: Any) -> ToolDefinition:
    function = _object(f"{where}.function", _object(where, value).get("function"))
    parameters = _typed(function, "parameters", dict, {"type": "object", "properties": {}}, where)
    return ToolDefinition(_name(where, function), _typed(function, "description", str, "", where), parameters)


def _name(where: str, function: Mapping[str, Any]) -> str:
    name: str = _typed(function, "name", str, "", where)
    if not name:
        raise UsageError(f"{where}.function has no name.")
    return name


def _choice(value: Any) -> str:
    if value is None:
        return "auto"
    if isinstance(value, str) and value in ("auto", "none", "required"):
        return value
    return _name("tool_choice", _object("tool_choice.function", _object("tool_choice", value).get("function")))


def _stop(value: Any) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value or []
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise UsageError("stop is neither a text nor a list of texts.")
    return tuple(words)


def _schema(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    table = _object("response_format", value)
    kind = table.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise UsageError(f"response_format.type is {kind!r}; text, json_object and json_schema are understood.")
    given = _object("response_format.json_schema", table.get("json_schema"))
    return _object("response_format.json_schema.schema", given.get("schema"))


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} is no object; nothing was asked.")
    return value


def _typed(table: Mapping[str, Any], key: str, kind: Any, default: Any, where: str = "") -> Any:
    """Take a member of the right type; null is like none."""
    value = table.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where}{'.' if where else ''}{key} has the wrong type; nothing was asked.")
    return value
