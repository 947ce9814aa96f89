"""The role that asks the model: one of the two of an agent's loop. The other is `tool_worker.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from treadle.agents.ask import Asker
from treadle.domain.decision import Ask, Condense
from treadle.domain.messages import Message, ModelRequest, ToolDefinition
from treadle.domain.recorded import asked, condensed, replied
from treadle.domain.thread import Thread, UserMessage
from treadle.ports.context import NodeContext
from treadle.ports.model import Model, Pricing, free

_SUMMARISE = (
    "Summarise this part of your work for yourself, in at most 200 words: what you found out, which files you changed "
    "and how, what failed and why, and what is left to do. Name paths and names exactly. Do not call a tool."
)
_SUMMARY_TOKENS = 400
_WARMER = 0.2
"""By how much the temperature rises each time that the same would come again."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Asks a model to go on with a thread. Every question goes through the journal and the run's budget."""

    model: Model
    model_name: str
    tools: Sequence[ToolDefinition] = ()
    pricing: Pricing | None = free
    """Of the dearest model that may answer; None: not known."""
    max_tokens: int = 1024
    """Of one answer."""
    temperature: float = 0.0
    seed: int = 0
    must_call: bool = False
    """Every answer is a call: for small models, where a tool ends the work."""

    @property
    def reserved(self) -> int:
        """Tokens of the context that an answer and the tools' descriptions take at most."""
        return self.max_tokens + (len(msgspec.json.encode(list(self.tools))) // 3 if self.tools else 0)

    async def ask(self, ctx: NodeContext, thread: Thread, action: Ask, key: str) -> None:
        """Ask the model, and move the thread on by its answer.

        Raises:
            BudgetExceeded: The run's budgets do not cover it. It was not asked, or stopped when the seconds were over.
            ConfigError, ModelUnavailable, ModelError: See `Asker.ask`.
        """
        if action.notice:
            thread.apply(UserMessage(action.notice, is_notice=True))
        request = ModelRequest(
            model=self.model_name,
            messages=thread.messages(),
            tools=tuple(tool for tool in self.tools if tool.name not in action.without) or tuple(self.tools),
            max_tokens=self.max_tokens,
            temperature=self.temperature + _WARMER * action.variation,
            seed=self.seed + action.variation,
            tool_choice="required" if self.must_call and self.tools else "auto",
        )
        shown = asked(thread)
        replied(thread, shown, await self._asker(ctx).reply(key, request, shown))

    async def condense(self, ctx: NodeContext, thread: Thread, action: Condense, key: str) -> None:
        """Make the thread shorter for the model. Raises as `ask`."""
        shown = {"upto": action.upto, "conversation": thread.digest()}
        if not action.summarise:
            condensed(thread, shown, await ctx.step(key, lambda: {"shortened": True}, kind="condense", request=shown))
            return
        seen = thread.seen_before(action.upto)
        request = ModelRequest(
            model=self.model_name,
            messages=(*_cut(seen, thread), Message("user", _SUMMARISE)),
            max_tokens=_SUMMARY_TOKENS,
            temperature=self.temperature,
            seed=self.seed,
        )
        result = await self._asker(ctx).reply(key, request, shown)
        condensed(thread, shown, {**result, "otherwise": _listed(seen)})

    def _asker(self, ctx: NodeContext) -> Asker:
        return Asker(ctx, self.model, self.model_name, self.pricing, on_delta=getattr(ctx, "emit_token", None))


def _cut(messages: Sequence[Message], thread: Thread) -> list[Message]:
    """Messages in words, each cut so that all of them together are no longer than half of what was too long."""
    each = max(200, 3 * thread.tokens() // (2 * max(1, len(messages))))
    return [_in_words(replace(message, content=message.content[:each]), each) for message in messages]


def _in_words(message: Message, each: int) -> Message:
    """A message without calls, for a request that offers no tools."""
    if message.role == "tool":
        return Message("user", f"Result: {message.content}")
    calls = [f"{call.name} {msgspec.json.encode(call.arguments).decode()[:each]}" for call in message.tool_calls]
    return Message(message.role, "\n".join([message.content, *calls]).strip() or "(nothing)")


def _listed(messages: Sequence[Message]) -> str:
    """A summary without a model: the calls in their order."""
    calls = [call for message in messages for call in message.tool_calls]
    return "\n".join(f"- {call.name} {msgspec.json.encode(call.arguments).decode()[:80]}" for call in calls[-30:])
