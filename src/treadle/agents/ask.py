"""Ask a model within a node: every question goes through the journal and the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from treadle.agents.prompt import SYSTEM
from treadle.domain.messages import Message, ModelRequest
from treadle.models.almost_json import json_value
from treadle.ports.context import NodeContext
from treadle.ports.model import Model


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask. Sampling is part of the question, so that a re-entered node asks the same again."""

    text: str
    max_tokens: int = 800
    temperature: float = 0.0
    seed: int = 0
    json_schema: dict[str, Any] | None = None
    stop: tuple[str, ...] = ()


@dataclass(slots=True)
class Asker:
    """Asks one model on behalf of one node, and counts what it cost."""

    ctx: NodeContext
    model: Model
    model_name: str
    on_delta: Callable[[str], None] | None = None
    tokens: int = 0
    """Spent through this asker so far, replayed answers included."""
    models: set[str] = field(default_factory=set)

    async def ask(self, key: str, question: Question) -> str:
        """Return the model's answer. Recorded under `key`: a node entered again is given the same answer, unasked.

        Raises:
            BudgetExceeded: The run's tokens do not cover the question. It was not asked.
            ModelUnavailable, ModelError: See `ports.model.Model.reply`.
        """
        request = ModelRequest(
            model=self.model_name,
            messages=(Message("system", SYSTEM), Message("user", question.text)),
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            seed=question.seed,
            stop=question.stop,
            json_schema=question.json_schema,
        )

        async def reply() -> dict[str, Any]:
            answer: dict[str, Any] = msgspec.to_builtins(await self.model.reply(request, on_delta=self.on_delta))
            return answer

        recorded = await self.ctx.step(
            key,
            reply,
            kind="model",
            request=request.plain(),
            reserve={"tokens": request.largest_usage().total},
            settle=lambda answer: {"tokens": _tokens(answer)},
        )
        self.tokens += _tokens(recorded)
        self.models.add(str(recorded["model"]))
        return str(recorded["text"])

    async def ask_json(self, key: str, question: Question, *, tries: int = 2) -> Any:
        """Return the JSON value that the model answers with, or None if none of the tries had a usable one."""
        for attempt in range(tries):
            varied = replace(question, seed=question.seed + attempt, temperature=question.temperature + 0.3 * attempt)
            value = json_value(await self.ask(f"{key}.{attempt}" if attempt else key, varied))
            if value is not None:
                return value
        return None


def _tokens(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["input_tokens"]) + int(answer["usage"]["output_tokens"])
