"""A scripted model whose rules are in a file, for rehearsing whole builds: `--provider scripted:FILE`.

The file holds rules, as one JSON list or one rule a line: `{"when": text, "reply": text, "seconds": number}`. A request
is answered by the first rule whose `when` is somewhere in its messages, so a process that goes on after a crash is
answered the same. `Recording` writes such a file from what a real model answers: its rules have the `digest` of the
request instead of `when`, and as `reply` an object with all that the answer held.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import ConfigError, ModelError
from treadle.models.adapters.scripted import ScriptedModel
from treadle.models.wrappers.wrapper import Wrapper
from treadle.ports.model import Model, OnDelta


class _Rule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    reply: str | ModelReply
    when: str = ""
    digest: str = ""
    seconds: float = 0.0

    def fits(self, request: ModelRequest, asked: str) -> bool:
        return request.digest() == self.digest if self.digest else self.when in asked


class ScriptFile:
    """Implements `ports.model.Model` with the rules of a file."""

    provider = "scripted"

    def __init__(self, path: Path) -> None:
        """Read the rules. Raises ConfigError if the file holds none."""
        self._path = path
        try:
            self._rules = _read(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"The script {str(path)!r} cannot be read: {error!r}. Nothing was started.") from error

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer by the first rule that fits, after its `seconds`. Raises ModelError if none does."""
        asked = "\n".join(message.content for message in request.messages)
        rule = next((rule for rule in self._rules if rule.fits(request, asked)), None)
        if rule is None:
            raise ModelError(f"No rule of the script {str(self._path)!r} fits the request: {asked[-200:]!r}.")
        await asyncio.sleep(rule.seconds)
        return await ScriptedModel([rule.reply]).reply(request, on_delta=on_delta)

    async def close(self) -> None:
        """Do nothing."""


class Recording(Wrapper):
    """Adds each answer of a model to a file that `ScriptFile` gives the same answers from. Failures are not kept."""

    def __init__(self, inner: Model, path: Path) -> None:
        super().__init__(inner)
        self._path = path

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        reply = await self._inner.reply(request, on_delta=on_delta)
        line = msgspec.json.encode(_Rule(reply, digest=request.digest())) + b"\n"
        await asyncio.to_thread(_append, self._path, line)
        return reply


def _read(data: bytes) -> list[_Rule]:
    if data.lstrip().startswith(b"["):
        return msgspec.json.decode(data, type=list[_Rule])
    return [msgspec.json.decode(line, type=_Rule) for line in data.splitlines() if line.strip()]


def _append(path: Path, line: bytes) -> None:
    """In one write, so that lines of several processes do not mix. Answers are the user's own business."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)
