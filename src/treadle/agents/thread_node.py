"""An agent as a node of a graph: it holds one conversation, and what it is asked comes from the state."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from treadle.agents.conversation import AsksModel, Conversation, MakesCalls
from treadle.domain import codec
from treadle.domain.decision import Finish, Policy
from treadle.domain.recorded import thread_of
from treadle.domain.thread import SystemMessage, Thread, UserMessage
from treadle.graph.build import Graph
from treadle.graph.spec import END, START
from treadle.ports.context import NodeContext

NODE = "agent"
"""Name of the node in its graph, and so of its activation."""
MESSAGE = "message."
"""How the keys of those interrupts begin with which an agent waits for the next message."""

__all__ = ["MESSAGE", "NODE", "Equipment", "thread_graph", "thread_of"]


@dataclass(frozen=True, slots=True)
class Equipment:
    """Who asks the model, who makes the calls, and what they may do."""

    worker: AsksModel
    tool_worker: MakesCalls
    policy: Policy


Equip = Callable[[NodeContext], Awaitable[Equipment]]
"""Gives a node what it works with. Called each time that the node is entered."""


def thread_graph(name: str, equip: Equip, *, preamble: str = "", goes_on: bool = False) -> Graph:
    """Make the graph of one agent. Its run begins with a `message`; without one, the whole state is the message.

    Args:
        preamble: Its system message. One in the state counts for more.
        goes_on: Wait for the next message when an answer is there, so that the run never ends by itself.
    """

    async def agent(state: Mapping[str, Any], ctx: NodeContext) -> dict[str, Any]:
        told = state.get("preamble", preamble)
        thread = Thread([SystemMessage(told)] if told else [])
        return await _hold(thread, _message(state), ctx, await equip(ctx), goes_on)

    graph = Graph(name).add_node(NODE, agent)
    return graph.add_edge(START, NODE).add_edge(NODE, END)


def _message(state: Mapping[str, Any]) -> str:
    """What is asked: the state's message, else all that it holds."""
    if "message" in state:
        return str(state["message"])
    return json.dumps(codec.to_plain(dict(state)), ensure_ascii=False, indent=1)


async def _hold(thread: Thread, message: str, ctx: NodeContext, equipment: Equipment, goes_on: bool) -> dict[str, Any]:
    conversation, number = Conversation(equipment.worker, equipment.tool_worker, equipment.policy), 0
    while True:
        thread.apply(UserMessage(message))
        report = report_of(thread, await conversation.go_on(ctx, thread))
        if not goes_on:
            return report
        number += 1
        message = str(ctx.interrupt(report, key=f"{MESSAGE}{number}"))


def report_of(thread: Thread, finish: Finish) -> dict[str, Any]:
    """What came of what was asked last, as plain values."""
    return {
        "answer": thread.answer,
        "reason": finish.reason,
        "detail": finish.detail,
        "tree": thread.tree,
        "usage": asdict(thread.usage),
        "cost": thread.cost,
    }
