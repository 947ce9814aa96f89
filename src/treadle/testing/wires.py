"""The protocols of model providers as a server speaks them: what they send, and how a request reads there.

Each wire makes the bytes of a scripted answer, and finds in a request what was asked, so that one test can be told
about every provider.
"""

from __future__ import annotations

import base64
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from treadle.domain.messages import FinishReason, Image, ToolCall, Usage

MODEL = "toy-1b"


@dataclass(frozen=True, slots=True)
class Said:
    """An answer that a server is to give, in pieces."""

    text: tuple[str, ...] = ("Hel", "lo")
    thinking: tuple[str, ...] = ()
    signature: str = ""
    """Of the thinking, base64; for providers that sign it."""
    calls: tuple[ToolCall, ...] = ()
    finish: FinishReason = "stop"
    usage: Usage = field(default_factory=lambda: Usage(7, 2))


@dataclass(frozen=True, slots=True)
class Heard:
    """What a request asks, as the server reads it."""

    model: str
    texts: tuple[str, ...]
    max_tokens: int
    images: tuple[Image, ...] = ()
    stop: tuple[str, ...] = ()
    tools: Mapping[str, Any] = field(default_factory=dict)
    """Schema of the arguments by name."""
    choice: str = "auto"
    schema: Any = None
    results: Mapping[str, str] = field(default_factory=dict)
    """Text of each tool's result, by the id of its call, or by its name where there are no ids."""
    signature: str = ""
    """Of thinking that came back."""
    key: str = ""


class Wire(ABC):
    """One protocol."""

    name: str
    content_type = "text/event-stream"
    can_force_tools = True
    counts_cached = True
    signs = False
    has_comments = True
    """Whether its streams may hold comments, which keep a connection alive and say nothing."""

    @abstractmethod
    def stream(self, said: Said) -> Iterator[bytes]:
        """The events of an answer, one by one. The last says how it ended."""

    @abstractmethod
    def error(self, status: int, message: str) -> bytes:
        """The body of a refusal."""

    @abstractmethod
    def broken_off(self, message: str) -> bytes:
        """An error in the middle of an answer."""

    @abstractmethod
    def heard(self, path: str, headers: Mapping[str, str], body: Any) -> Heard:
        """Read a request."""


def _sse(data: Any, event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


class OpenAIWire(Wire):
    """Chat completions, as OpenAI, vLLM and llama.cpp stream them."""

    name = "openai"

    def stream(self, said: Said) -> Iterator[bytes]:
        yield self._chunk({"role": "assistant", "content": ""})
        for piece in said.thinking:
            yield self._chunk({"reasoning_content": piece})
        for piece in said.text:
            yield self._chunk({"content": piece})
        for index, call in enumerate(said.calls):
            function = {"name": call.name, "arguments": ""}
            yield self._chunk(
                {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]}
            )
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            for piece in (arguments[:5], arguments[5:]):
                yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
        yield self._chunk({}, {"refused": "content_filter"}.get(said.finish, said.finish))
        usage = said.usage
        yield self._event([], usage={
            "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": usage.total,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        })  # fmt: skip
        yield b"data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        return self._event([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}])

    def _event(self, choices: list[Any], **more: Any) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
        return _sse({**head, "choices": choices, **more})

    def error(self, status: int, message: str) -> bytes:
        kind = "rate_limit_exceeded" if status == 429 else "invalid_request_error"
        return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}).encode()

    def broken_off(self, message: str) -> bytes:
        return _sse({"error": {"message": message, "type": "server_error", "code": 500}})

    def heard(self, path: str, headers: Mapping[str, str], body: Any) -> Heard:
        assert path == "/v1/chat/completions", path
        parts = [part for message in body["messages"] for part in _parts(message["content"])]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        choice = body.get("tool_choice", "auto")
        return Heard(
            model=body["model"],
            texts=tuple(part["text"] for part in parts if part["type"] == "text"),
            max_tokens=body["max_tokens"],
            images=tuple(_image(*url.removeprefix("data:").split(";base64,")) for url in urls),
            stop=tuple(body.get("stop", ())),
            tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())},
            choice=choice if isinstance(choice, str) else choice["function"]["name"],
            schema=body.get("response_format", {}).get("json_schema", {}).get("schema"),
            results={m["tool_call_id"]: m["content"] for m in body["messages"] if m["role"] == "tool"},
            key=headers.get("authorization", "").removeprefix("Bearer "),
        )


class OllamaWire(Wire):
    """Ollama's own chat: one JSON document per line."""

    name = "ollama"
    content_type = "application/x-ndjson"
    can_force_tools = False
    counts_cached = False
    has_comments = False

    def stream(self, said: Said) -> Iterator[bytes]:
        for piece in said.thinking:
            yield self._line({"content": "", "thinking": piece})
        for piece in said.text:
            yield self._line({"content": piece})
        for number, call in enumerate(said.calls):
            function = {"index": number, "name": call.name, "arguments": call.arguments}
            yield self._line({"content": "", "tool_calls": [{"id": call.id, "function": function}]})
        reason = {"tool_calls": "stop"}.get(said.finish, said.finish)
        counts = {"prompt_eval_count": said.usage.input_tokens, "eval_count": said.usage.output_tokens}
        times = {"total_duration": 5, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 2}
        yield self._line({"content": ""}, done=True, done_reason=reason, **counts, **times)

    def _line(self, message: dict[str, Any], done: bool = False, **more: Any) -> bytes:
        head = {"model": MODEL, "created_at": "2026-11-21T12:00:00Z", "message": {"role": "assistant", **message}}
        return (json.dumps({**head, "done": done, **more}, ensure_ascii=False) + "\n").encode()

    def error(self, status: int, message: str) -> bytes:
        return json.dumps({"error": message}).encode()

    def broken_off(self, message: str) -> bytes:
        return self.error(500, message) + b"\n"

    def heard(self, path: str, headers: Mapping[str, str], body: Any) -> Heard:
        assert path == "/api/chat", path
        options, messages = body["options"], body["messages"]
        return Heard(
            model=body["model"],
            texts=tuple(message["content"] for message in messages if message["content"]),
            max_tokens=options["num_predict"],
            images=tuple(_image("", data) for message in messages for data in message.get("images", ())),
            stop=tuple(options.get("stop", ())),
            tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", ())},
            schema=body.get("format"),
            results={m["tool_call_id"]: m["content"] for m in messages if m["role"] == "tool"},
            key=headers.get("authorization", "").removeprefix("Bearer "),
        )


class AnthropicWire(Wire):
    """Anthropic's messages, with named events."""

    name = "anthropic"
    signs = True

    def stream(self, said: Said) -> Iterator[bytes]:
        usage = said.usage
        counts = {
            "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens,
            "cache_read_input_tokens": usage.cached_input_tokens,
            "cache_creation_input_tokens": usage.cache_write_tokens,
            "output_tokens": 1,
        }
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": MODEL,
                   "stop_reason": None, "stop_sequence": None, "usage": counts}  # fmt: skip
        yield self._event("message_start", message=message)
        yield self._event("ping")
        for index, (start, deltas) in enumerate(self._blocks(said)):
            yield self._event("content_block_start", index=index, content_block=start)
            for delta in deltas:
                yield self._event("content_block_delta", index=index, delta=delta)
            yield self._event("content_block_stop", index=index)
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "refused": "refusal"}
        delta = {"stop_reason": reasons[said.finish], "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage={"output_tokens": usage.output_tokens})
        yield self._event("message_stop")

    def _blocks(self, said: Said) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        if said.thinking:
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in said.thinking]
            deltas.append({"type": "signature_delta", "signature": said.signature or "c2ln"})
            yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
        if said.text:
            yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in said.text]
        for call in said.calls:
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            pieces = ("", arguments[:5], arguments[5:])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            yield {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, deltas

    def _event(self, kind: str, **data: Any) -> bytes:
        return _sse({"type": kind, **data}, kind)

    def error(self, status: int, message: str) -> bytes:
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(status, "api_error" if status >= 500 else "invalid_request_error")
        return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}).encode()

    def broken_off(self, message: str) -> bytes:
        return _sse({"type": "error", "error": {"type": "overloaded_error", "message": message}}, "error")

    def heard(self, path: str, headers: Mapping[str, str], body: Any) -> Heard:
        assert path == "/v1/messages", path
        blocks = [block for message in body["messages"] for block in message["content"]]
        results = [block for block in blocks if block["type"] == "tool_result"]
        inner = [*blocks, *(part for result in results for part in result["content"])]
        choice = body.get("tool_choice", {"type": "auto"})
        texts = [body["system"]] if "system" in body else []
        return Heard(
            model=body["model"],
            texts=(*texts, *(block["text"] for block in inner if block["type"] == "text")),
            max_tokens=body["max_tokens"],
            images=tuple(_image(b["source"]["media_type"], b["source"]["data"]) for b in inner if b["type"] == "image"),
            stop=tuple(body.get("stop_sequences", ())),
            tools={tool["name"]: tool["input_schema"] for tool in body.get("tools", ())},
            choice={"any": "required"}.get(choice["type"], choice.get("name", choice["type"])),
            schema=body.get("output_config", {}).get("format", {}).get("schema"),
            results={r["tool_use_id"]: "".join(p.get("text", "") for p in r["content"]) for r in results},
            signature="".join(block["signature"] for block in blocks if block["type"] == "thinking"),
            key=headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer "),
        )


class GeminiWire(Wire):
    """Gemini's streamGenerateContent. It takes names in either case, and base64 of either alphabet, as its SDK does."""

    name = "gemini"
    signs = True
    has_comments = False  # the vendor's SDK takes one for an error

    def stream(self, said: Said) -> Iterator[bytes]:
        for piece in said.thinking:
            yield self._chunk({"text": piece, "thought": True})
        for piece in said.text:
            yield self._chunk({"text": piece})
        for number, call in enumerate(said.calls):
            part: dict[str, Any] = {"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}}
            if said.signature and not number:
                part["thoughtSignature"] = said.signature
            yield self._chunk(part)
        reasons = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "refused": "SAFETY"}
        last: dict[str, Any] = {"text": ""}
        if said.signature and not said.calls:
            last["thoughtSignature"] = said.signature
        yield self._chunk(last, finishReason=reasons[said.finish], usage=said.usage)

    def _chunk(self, part: dict[str, Any], usage: Usage | None = None, **more: Any) -> bytes:
        counts = {}
        if usage is not None:
            counts = {
                "promptTokenCount": usage.input_tokens,
                "candidatesTokenCount": usage.output_tokens,
                "totalTokenCount": usage.total,
                "cachedContentTokenCount": usage.cached_input_tokens,
            }
        candidate = {"content": {"parts": [part], "role": "model"}, "index": 0, **more}
        return _sse({"candidates": [candidate], "usageMetadata": counts, "modelVersion": MODEL, "responseId": "r"})

    def error(self, status: int, message: str) -> bytes:
        words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
                 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}  # fmt: skip
        return json.dumps({"error": {"code": status, "message": message, "status": words.get(status, "X")}}).encode()

    def broken_off(self, message: str) -> bytes:
        return _sse({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})

    def heard(self, path: str, headers: Mapping[str, str], body: Any) -> Heard:
        address, _, query = path.partition("?")
        body = _in_camel_case(body)
        assert address.endswith(":streamGenerateContent") and query == "alt=sse", path
        parts = [part for content in body["contents"] for part in content["parts"]]
        results = [part["functionResponse"] for part in parts if "functionResponse" in part]
        shown = [*parts, *(part for result in results for part in result.get("parts", ()))]
        config, system = body["generationConfig"], body.get("systemInstruction", {"parts": ()})["parts"]
        declared = [f for tool in body.get("tools", ()) for f in tool["functionDeclarations"]]
        calling = body.get("toolConfig", {}).get("functionCallingConfig", {"mode": "AUTO"})
        mode = {"ANY": "required"}.get(calling["mode"], calling["mode"].lower())
        return Heard(
            model=address.partition("/models/")[2].partition(":")[0],
            texts=tuple(part["text"] for part in (*system, *parts) if part.get("text")),
            max_tokens=config["maxOutputTokens"],
            images=tuple(
                _image(*map(part["inlineData"].get, ("mimeType", "data"))) for part in shown if "inlineData" in part
            ),
            stop=tuple(config.get("stopSequences", ())),
            tools={tool["name"]: tool["parametersJsonSchema"] for tool in declared},
            choice=calling.get("allowedFunctionNames", [mode])[0],
            schema=config.get("responseJsonSchema"),
            results={r["id"]: json.dumps(r["response"]) for r in results},
            signature="".join(part.get("thoughtSignature", "") for part in parts),
            key=headers.get("x-goog-api-key", ""),
        )


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _image(media_type: str, data: str) -> Image:
    return Image(media_type, base64.b64decode(data.replace("-", "+").replace("_", "/")))


def _in_camel_case(value: Any) -> Any:
    """Write the names of Gemini's own fields in one way; what users named stays as it is."""
    if isinstance(value, list):
        return [_in_camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    written = {re.sub(r"_([a-z])", lambda found: found[1].upper(), name): item for name, item in value.items()}
    own = {"parametersJsonSchema", "responseJsonSchema", "args", "response"}
    return {name: item if name in own else _in_camel_case(item) for name, item in written.items()}
