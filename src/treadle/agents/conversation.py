"""The loop of an agent: decide what comes next, have it done by the role whose work it is, until the agent is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from treadle.domain.decision import (
    Ask,
    AskApproval,
    Condense,
    Deny,
    Finish,
    Policy,
    RunTools,
    decide,
)
from treadle.domain.messages import ToolCall
from treadle.domain.recorded import approval_of
from treadle.domain.thread import Thread
from treadle.ports.context import NodeContext


class AsksModel(Protocol):
    """What the loop needs of whoever asks the model: see `worker.Worker`. `key` names the effect in the journal."""

    async def ask(self, ctx: NodeContext, thread: Thread, action: Ask, key: str) -> None: ...

    async def condense(self, ctx: NodeContext, thread: Thread, action: Condense, key: str) -> None: ...


class MakesCalls(Protocol):
    """What the loop needs of whoever runs the tools: see `tool_worker.ToolWorker`."""

    async def run(self, ctx: NodeContext, thread: Thread, calls: Sequence[ToolCall], key: str) -> None: ...

    async def deny(self, ctx: NodeContext, thread: Thread, action: Deny, key: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """An agent at work in a node. All that it does is in the node's journal: entered again, it goes on where it was."""

    worker: AsksModel
    tool_worker: MakesCalls
    policy: Policy
    name: str = ""
    """Tells conversations of one node apart; ends with a dot if it is not empty."""

    async def go_on(self, ctx: NodeContext, thread: Thread) -> Finish:
        """Work until the agent comes to an end with what it was asked, and say why.

        Waits for approvals with `ctx.interrupt`; then the node ends here, and starts again with the answer.

        Raises:
            BudgetExceeded: The run's budgets are used up. `retry` with more goes on from there.
            ModelUnavailable, ModelError: The model did not answer. `retry` asks again.
            SandboxUnavailable: Tools cannot be run.
        """
        while True:
            match decide(thread, self.policy):
                case Ask() as action:
                    await self.worker.ask(ctx, thread, action, f"{self.name}ask.{thread.steps}")
                case Condense() as action:
                    await self.worker.condense(ctx, thread, action, f"{self.name}condense.{thread.condensed}")
                case RunTools(calls):
                    await self.tool_worker.run(ctx, thread, calls, f"{self.name}tool.{thread.steps - 1}")
                case Deny() as action:
                    await self.tool_worker.deny(ctx, thread, action, f"{self.name}tool.{thread.steps - 1}")
                case AskApproval(call):
                    self._ask_approval(ctx, thread, call)
                case Finish() as finish:
                    return finish

    def _ask_approval(self, ctx: NodeContext, thread: Thread, call: ToolCall) -> None:
        position = thread.turns[-1].calls.index(call)
        key = f"{self.name}approve.{thread.steps - 1}.{position}"
        thread.apply(approval_of(call.id, ctx.interrupt(question_about(call), key=key)))


def question_about(call: ToolCall) -> dict[str, Any]:
    """What somebody is asked who has to agree to a call."""
    return {
        "question": f"May the agent call {call.name}? Answer yes or no, or say why not.",
        "tool": call.name,
        "arguments": call.arguments,
    }
