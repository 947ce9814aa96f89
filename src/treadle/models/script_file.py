"""A scripted model whose rules are in a JSON file, for rehearsing whole builds: `--provider scripted:FILE`.

The file holds a list of `{"when": text, "reply": text, "seconds": number}`. A request is answered by the first rule
whose `when` is somewhere in its messages, so a process that goes on after a crash is answered the same.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import ConfigError, ModelError
from treadle.models.scripted import ScriptedModel
from treadle.ports.model import OnDelta


class ScriptFile:
    """Implements `ports.model.Model` with the rules of a file."""

    provider = "scripted"

    def __init__(self, path: Path) -> None:
        """Read the rules. Raises ConfigError if the file is no such list."""
        self._path = path
        try:
            self._rules: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
            wrong = [rule for rule in self._rules if not isinstance(rule["reply"], str)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"The script {str(path)!r} cannot be read: {error!r}. Nothing was started.") from error
        if wrong:
            raise ConfigError(f"The script {str(path)!r} has a reply that is no text. Nothing was started.")

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer by the first rule that fits, after its `seconds`. Raises ModelError if none does."""
        asked = "\n".join(message.content for message in request.messages)
        rule = next((rule for rule in self._rules if rule.get("when", "") in asked), None)
        if rule is None:
            raise ModelError(f"No rule of the script {str(self._path)!r} fits the request: {asked[-200:]!r}.")
        await asyncio.sleep(float(rule.get("seconds", 0)))
        return await ScriptedModel([rule["reply"]]).reply(request, on_delta=on_delta)

    async def close(self) -> None:
        """Do nothing."""
