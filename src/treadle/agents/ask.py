"""Ask a model within a node: every question goes through the journal and the budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from treadle.agents.budget import Share, shares
from treadle.agents.prompt import SYSTEM, Rendered
from treadle.domain.messages import Image, Message, ModelRequest
from treadle.errors import BrokenAnswer, BudgetExceeded
from treadle.models.wrappers.almost_json import json_value
from treadle.ports.context import NodeContext
from treadle.ports.model import Model, Pricing, free


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask. Sampling is part of the question, so that a re-entered node asks the same again."""

    text: str
    max_tokens: int = 800
    temperature: float = 0.0
    seed: int = 0
    json_schema: dict[str, Any] | None = None
    stop: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    """What the model is to look at; only for models that see."""
    system: str = SYSTEM


@dataclass(slots=True)
class Asker:
    """Asks one model on behalf of one node, and counts what it cost."""

    ctx: NodeContext
    model: Model
    model_name: str
    pricing: Pricing | None = free
    """Of the dearest model that may answer; None: not known."""
    on_delta: Callable[[str], None] | None = None
    tokens: int = 0
    """Spent through this asker so far, replayed answers included."""
    cost: float = 0.0
    """USD, of the answers whose price is known."""
    models: set[str] = field(default_factory=set)
    last_model: str = ""
    """Who answered last."""
    prompts: set[str] = field(default_factory=set)
    """From which the questions were made, see `agents.prompt.Prompt.label`."""

    async def ask(self, key: str, question: Question) -> str:
        """Return the model's answer. Recorded under `key`: a node entered again is given the same answer, unasked.

        Raises:
            BudgetExceeded: The run's tokens, money or seconds do not cover the question. It was not asked, or stopped
                when the seconds were over.
            ConfigError: The run has a budget of money, and the model's price is not known. It was not asked.
            ModelUnavailable, ModelError: See `ports.model.Model.reply`.
        """
        if isinstance(question.text, Rendered):
            self.prompts.add(question.text.prompt)
        request = ModelRequest(
            model=self.model_name,
            messages=(
                Message("system", question.system),
                Message("user", str(question.text), images=question.images),
            ),
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            seed=question.seed,
            stop=question.stop,
            json_schema=question.json_schema,
        )

        return str((await self.reply(key, request, _shown(request)))["text"])

    async def reply(self, key: str, request: ModelRequest, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Return the model's reply to any request, as plain values; `shown` is what is recorded of the request.

        An answer that cannot be read is paid for like any other: it comes back with its `flaw`.
        Raises as `ask`.
        """
        recorded = await self._recorded(key, request, shown)
        self.tokens += _tokens(recorded)
        self.cost += recorded.get("cost") or 0.0
        self.last_model = str(recorded["model"])
        self.models.add(self.last_model)
        return recorded

    async def _recorded(self, key: str, request: ModelRequest, shown: Mapping[str, Any]) -> dict[str, Any]:
        tries = shares(request, self.pricing, await self.ctx.budget())
        for share in tries[:-1]:
            try:
                return await self._step(key, request, shown, share)
            except BudgetExceeded:
                if share.was_asked:
                    raise
        return await self._step(key, request, shown, tries[-1])

    async def _step(self, key: str, request: ModelRequest, shown: Mapping[str, Any], share: Share) -> dict[str, Any]:
        async def reply() -> dict[str, Any]:
            try:
                answer: dict[str, Any] = msgspec.to_builtins(await share.ask(self.model, request, self.on_delta))
            except BrokenAnswer as error:
                return {**msgspec.to_builtins(error.reply), "flaw": str(error)}
            return answer

        return await self.ctx.step(key, reply, kind="model", request=shown, reserve=share.reserve, settle=share.settle)

    async def ask_json(self, key: str, question: Question, *, tries: int = 2) -> Any:
        """Return the JSON value that the model answers with, or None if none of the tries had a usable one."""
        for attempt in range(tries):
            varied = replace(question, seed=question.seed + attempt, temperature=question.temperature + 0.3 * attempt)
            value = json_value(await self.ask(f"{key}.{attempt}" if attempt else key, varied))
            if value is not None:
                return value
        return None


def _shown(request: ModelRequest) -> dict[str, Any]:
    """What is recorded of a request: pictures by their digest, since they are in the tree that the task began from."""
    plain = request.plain()
    for shown, message in zip(plain["messages"], request.messages, strict=True):
        for image, given in zip(shown.get("images", ()), message.images, strict=False):
            image["data"] = f"sha256:{hashlib.sha256(given.data).hexdigest()}"
    return plain


def _tokens(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["input_tokens"]) + int(answer["usage"]["output_tokens"])
