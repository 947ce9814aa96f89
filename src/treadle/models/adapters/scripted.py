"""A model that says what it is told to say: for tests, examples and rehearsals. Deterministic, and asks nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from treadle.domain.messages import ModelReply, ModelRequest, Usage
from treadle.errors import ModelError
from treadle.ports.model import OnDelta

Script = Callable[[ModelRequest], "str | ModelReply"]
"""Answers a request by looking at it."""

_CHARACTERS_PER_TOKEN = 4


class ScriptedModel:
    """Implements `ports.model.Model` with replies given beforehand, in order, or with a function of the request."""

    provider = "scripted"

    def __init__(self, replies: Iterable[str | ModelReply | Exception] | Script) -> None:
        """Take the script. An exception in the list is raised when its turn comes."""
        self._function = replies if callable(replies) else None
        self._replies = iter(()) if callable(replies) else iter(list(replies))
        self.requests: list[ModelRequest] = []
        """Every request so far, in order."""

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Give the next reply: see `ports.model.Model.reply`. Text arrives word by word.

        Raises:
            ModelError: The script is at its end.
        """
        self.requests.append(request)
        given = self._function(request) if self._function else next(self._replies, None)
        if given is None:
            raise ModelError(
                f"The script ends after {len(self.requests) - 1} replies, and the model was asked once more.",
                hint="Give ScriptedModel more replies, or a function.",
            )
        if isinstance(given, Exception):
            raise given
        reply = _reply(request, given) if isinstance(given, str) else given
        if on_delta is not None:
            for piece in re.findall(r"\s*\S+|\s+$", reply.text):
                on_delta(piece)
        return reply if reply.usage.total else replace(reply, usage=_usage(request, reply))

    async def close(self) -> None:
        """Do nothing."""


def _reply(request: ModelRequest, text: str) -> ModelReply:
    return ModelReply(text=text, model=request.model or "scripted")


def _usage(request: ModelRequest, reply: ModelReply) -> Usage:
    asked = sum(len(message.content) for message in request.messages)
    return Usage(1 + asked // _CHARACTERS_PER_TOKEN, 1 + len(reply.text) // _CHARACTERS_PER_TOKEN)
