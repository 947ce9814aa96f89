"""The model port: ask a language model one thing. How it is hosted is the adapter's business."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from treadle.domain.messages import ModelReply, ModelRequest, Usage

OnDelta = Callable[[str], None]
"""Called with each piece of text as it arrives."""

Pricing = Callable[[Usage, float], float]
"""What a model takes for tokens, and for seconds of answering, in USD."""


def free(usage: Usage, seconds: float) -> float:
    """The pricing of what costs nothing."""
    return 0.0


class Model(Protocol):
    """Something that answers model requests: an adapter, or a wrapper around one."""

    @property
    def provider(self) -> str:
        """Short name of where the answers come from: `embedded`, `ollama`, `openai`."""

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request.

        Not idempotent: asking twice costs twice. May be cancelled at any await, and then closes its connection.
        `on_delta` sees the text in order; the reply holds the whole text again.

        Raises:
            ModelUnavailable: The server was not reached, stalled or broke off. There is no reply.
            RateLimited: It is a ModelUnavailable, from a server that wants fewer requests.
            Refused: The server does not accept the key. The message names the variable, never the key.
            ModelError: The server answered with something that is no reply.
            BrokenAnswer: It is a ModelError, of a model that called a tool with JSON that cannot be read.
            UnknownName: The server has no such model.
        """

    async def close(self) -> None:
        """Give up connections. Idempotent."""
