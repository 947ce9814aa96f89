"""What the tests of wrappers share: a request, and a model that takes virtual time to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from treadle.domain.messages import Message, ModelReply, ModelRequest, Usage
from treadle.ports.model import OnDelta
from treadle.testing.virtual_time import VirtualLoop

T = TypeVar("T")
REQUEST = ModelRequest(model="m", messages=(Message("user", "Say hello"),), max_tokens=100)


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    return VirtualLoop().run(work)


@dataclass
class SlowModel:
    """Answers after a while what it is told to, or raises it; keeps when it was asked."""

    answers: list[str | Exception] = field(default_factory=list)
    """The last one stays; none: the text `done`."""
    seconds: float = 0.0
    says_first: str = ""
    """Shown before an exception is raised."""
    usage: Usage = field(default_factory=Usage)
    asked_at: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    closed: int = 0
    provider = "slow"

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        self.asked_at.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(self.seconds)
            given = (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]) if self.answers else "done"
            text = self.says_first if isinstance(given, Exception) else given
            if on_delta is not None and text:
                on_delta(text)
            if isinstance(given, Exception):
                raise given
            return ModelReply(given, request.model, usage=self.usage, seconds=self.seconds)
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        self.closed += 1
