"""The graphs whose histories are recorded, and how a history is read. Never change a graph here: add another."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import Event, decode_payload
from treadle.domain.state import State
from treadle.engine.signals import interrupt
from treadle.graph.build import Graph
from treadle.graph.fold import rebuild
from treadle.graph.spec import END, START, Command, CompiledGraph, Send

HERE = Path(__file__).parent


def mark(name: str) -> Any:
    async def node(state: State) -> dict[str, Any]:
        return {"trail": [name]}

    return node


def marks(name: str, nodes: str) -> Graph:
    graph = Graph(name, state={"trail": operator.add})
    for node in nodes.split():
        graph.add_node(node, mark(node))
    return graph


def diamond() -> CompiledGraph:
    """Forks, a skipped branch, a list of sources, types beyond JSON."""
    graph = marks("diamond", "a b c skipped d e")
    graph.add_node("types", lambda state: {
        "when": datetime(2026, 11, 21, tzinfo=UTC) + timedelta(hours=1), "price": Decimal("1.10"),
        "pair": (1, b"\x00"), "seen": {3, 1}, 7: "seven",
    })  # fmt: skip
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge(["b", "c"], "d")
    graph.add_conditional_edge("d", lambda state: ["types", "e"], ["types", "skipped", "e"])
    return graph.set_finish_point("types").set_finish_point("skipped").set_finish_point("e").compile()


def loops() -> CompiledGraph:
    """A loop in a loop, left by a Command, with a retry on the way."""
    graph = marks("loops", "outer inner")

    async def decide(state: State, ctx: Any) -> Command[Any]:
        if ctx.attempt == 1 and ctx.activation == "decide":
            raise OSError("once")
        count = state["trail"].count("decide") + 1
        goto = "inner" if count % 2 else "outer" if count < 4 else END
        return Command({"trail": ["decide"]}, goto=goto)

    graph.add_node("decide", decide, retry=2, destinations=["inner", "outer", END])
    return graph.add_edge(START, "outer").add_edge("outer", "inner").add_edge("inner", "decide").compile()


def fan_out() -> CompiledGraph:
    """Sends to a node and to a subgraph with keys of its own, an empty fan-out, a join."""
    inner = Graph("item", state={"trail": operator.add, "scratch": None})
    inner.add_node("x", lambda state: {"trail": [f"x{state['n']}"], "scratch": state["n"]})
    inner.add_node("y", lambda state: {"trail": [f"y{state['scratch']}"]})
    inner.add_edge(START, "x").add_edge("x", "y").add_edge("y", END)
    graph = Graph("fan_out", state={"trail": operator.add, "scratch": max})
    graph.add_node("plan", mark("plan")).add_node("w", lambda state: {"trail": [f"w{state['n']}"]})
    graph.add_node("item", inner).add_node("never", mark("never")).add_node("sum", mark("sum"))
    graph.add_edge(START, "plan")
    graph.add_conditional_edge(
        "plan",
        lambda state: [*(Send("w", {"n": n}) for n in range(3)), *(Send("item", {"n": n}) for n in (8, 9))],
        ["w", "item"],
    )
    graph.add_conditional_edge("plan", lambda state: [], ["never"])
    for node in ("w", "item", "never"):
        graph.add_edge(node, "sum")
    return graph.set_finish_point("sum").compile()


def approval() -> CompiledGraph:
    """Questions in a node and before one, journaled steps, changes from outside."""

    async def draft(state: State, ctx: Any) -> dict[str, Any]:
        text = await ctx.step("write", lambda: "a draft", kind="model", request={"topic": state["topic"]})
        return {"trail": [text, interrupt("good?")]}

    graph = Graph("approval", state={"trail": operator.add}).add_node("draft", draft).add_node("send", mark("send"))
    graph.add_edge(START, "draft").add_edge("draft", "send").add_edge("send", END)
    return graph.compile(interrupt_before=["send"])


def waiting() -> CompiledGraph:
    """Recorded while it asks: it must go on in any later release."""

    async def ask(state: State, ctx: Any) -> dict[str, Any]:
        first = await ctx.step("once", lambda: "recorded long ago")
        return {"trail": [first, interrupt("still there?")]}

    graph = marks("waiting", "a z").add_node("ask", ask)
    graph.add_edge(START, "a").add_edge("a", "ask").add_edge("a", "z").add_edge("ask", "z")
    return graph.set_finish_point("z").compile()


GRAPHS = {make.__name__: make for make in (diamond, loops, fan_out, approval, waiting)}


def moments(graph: CompiledGraph, events: list[Event]) -> Iterator[dict[str, Any]]:
    """The state and the live activations after every event, as plain JSON."""
    for number in range(1, len(events) + 1):
        position = rebuild(graph, events[:number])
        live = sorted(id for id, activation in position.index.items() if activation.child is None)
        yield {"seq": number, "live": live, "state": json.loads(codec.encode(position.values()))}


def read_events(lines: list[str], run_id: str) -> list[Event]:
    """Events of an exported run; its first line, the header, left out."""
    events = []
    for seq, line in enumerate(lines, 1):
        raw = msgspec.json.decode(line)
        payload = decode_payload(raw["type"], raw["version"], msgspec.json.encode(raw["payload"]))
        events.append(
            Event(seq, raw["at"], run_id, raw["activation"], raw["type"], raw["version"], "default", "default", payload,
                  raw["step"])
        )  # fmt: skip
    return events
