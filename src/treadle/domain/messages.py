"""Provider-neutral messages: what is asked of a model and what it answers. No provider's names, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool that a model asks for."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the call that this message answers."""


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

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens


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

    def digest(self) -> str:
        """Name the request by its content, so that a replay can tell whether it asks the same again."""
        return hashlib.sha256(msgspec.json.encode(asdict(self), order="sorted")).hexdigest()


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
