"""Provider-neutral messages: what is asked of a model and what it answers. No provider's names, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "refused", "cancelled"]
"""Why an answer ends. `refused`: the model, or its provider's filter, will not answer this; the text may be a part."""

Thinking = Literal["off", "low", "medium", "high"]

_ADDED_TO_MESSAGE = ("images", "thinking", "opaque")
"""Fields that came later. What does not use them is written as before, so that recorded requests keep their digests."""
_CHARACTERS_PER_TOKEN = 3
"""On the low side: what is reserved should cover the prompt."""
_TOKENS_PER_IMAGE = 1600
"""On the high side."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that a model is to look at."""

    media_type: str
    """`image/png`, `image/jpeg`, ..."""
    data: bytes


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool that a model asks for."""

    id: str
    name: str
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        """JSON can name half a character, which no log can hold: it becomes a replacement character."""
        object.__setattr__(self, "arguments", with_whole_characters(self.arguments))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the call that this message answers."""
    images: tuple[Image, ...] = ()
    """What is seen beside the text; of roles `user` and `tool`."""
    thinking: str = ""
    """For role `assistant`: the thinking that led to it, for models that want to see it again."""
    opaque: Mapping[str, Any] | None = None
    """For role `assistant`: what the provider wants back unchanged, such as signed thinking. Only the adapter that
    made it reads it. It belongs to this very message: leave it out of one that was edited."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as a model sees it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments object."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0
    """Thinking included."""
    cached_input_tokens: int = 0
    """Those of `input_tokens` that the provider read from its cache, which is cheaper."""
    cache_write_tokens: int = 0
    """Those of `input_tokens` that it put into its cache, which is dearer with some."""

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
        )


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One question to a model."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolDefinition, ...] = ()
    max_tokens: int = 1024
    """Upper bound of tokens in the answer."""
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    """If given, the answer is one JSON value of this schema."""

    tool_choice: str = "auto"
    """`auto`, `none`, `required` (some tool must be called), or the name of the tool that must be called."""
    thinking: Thinking | None = None
    """How much to think before the answer. None: as the model likes."""

    def plain(self) -> dict[str, Any]:
        """The request as JSON-like values, for journals; bytes are base64."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        if plain["tool_choice"] == "auto":
            del plain["tool_choice"]
        if plain["thinking"] is None:
            del plain["thinking"]
        for message in plain["messages"]:
            for name in _ADDED_TO_MESSAGE:
                if not message[name]:
                    del message[name]
        return plain

    def digest(self) -> str:
        """Name the request by its content, so that a replay can tell whether it asks the same again."""
        return hashlib.sha256(msgspec.json.encode(self.plain(), order="sorted")).hexdigest()

    def largest_usage(self) -> Usage:
        """What it may take at most, as far as can be told beforehand: a guess of the prompt, and all of the answer."""
        characters = sum(len(message.content) + len(message.thinking) for message in self.messages)
        extra = [*self.tools, *([self.json_schema] if self.json_schema else [])]
        characters += len(msgspec.json.encode(extra)) if extra else 0
        images = sum(len(message.images) for message in self.messages)
        return Usage(characters // _CHARACTERS_PER_TOKEN + images * _TOKENS_PER_IMAGE, self.max_tokens)


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answered."""

    text: str
    model: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    """Reasoning that the model keeps apart from its answer."""
    seconds: float = 0.0
    """Wall time of the call."""
    opaque: Mapping[str, Any] | None = None
    """See `Message.opaque`."""

    cost: float | None = None
    """USD; None: the price is not known."""
    passed_over: tuple[str, ...] = ()
    """`MODEL: why` for each that was asked before this one, and did not answer."""

    def message(self) -> Message:
        """The reply as a message of the conversation that goes on."""
        return Message("assistant", self.text, self.tool_calls, thinking=self.thinking, opaque=self.opaque)


def with_whole_characters(value: Any) -> Any:
    """The JSON-like value with a replacement character for each half of one: JSON can name it, no log can hold it."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return _with_whole_characters(value)
    except (TypeError, RecursionError):  # not JSON-like: whoever records it says so
        pass
    return value


def _with_whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_with_whole_characters(key): _with_whole_characters(inner) for key, inner in value.items()}
    return [_with_whole_characters(inner) for inner in value] if isinstance(value, list | tuple) else value
