"""Two nodes at once that keep a core busy: in threads, which share one core, and as `cpu_bound`, in processes."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from bench.engine_graphs import langgraph_kit
from bench.engine_measure import Row, median, ratios
from treadle import END, START, Graph, cpu_bound
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.stores.memory import MemoryStore

NUMBERS = 10_000_000


def count(state: Any) -> dict[str, Any]:
    """A few tenths of a second of pure Python."""
    total = 0
    for number in range(NUMBERS):
        total += number & 3
    return {}


@cpu_bound
def count_apart(state: Any) -> dict[str, Any]:
    return count(state)


async def two_at_once(rounds: int) -> list[Row]:
    work = {"threads": _pair(count), "processes": _pair(count_apart)}
    peer = _peer()
    seconds: dict[str, list[float]] = {"threads": [], "processes": [], "LangGraph": []}
    settings = dataclasses.replace(WorkerSettings(), processes=2)
    async with Orchestrator(MemoryStore(), settings=settings) as orchestrator:
        for number in range(rounds + 1):
            for name, graph in work.items():
                began = time.perf_counter()
                await orchestrator.execute(graph, {})
                seconds[name].append(time.perf_counter() - began)
            began = time.perf_counter()
            await peer.ainvoke({"messages": []})
            seconds["LangGraph"].append(time.perf_counter() - began)
            if not number:  # the processes start
                for measured in seconds.values():
                    measured.clear()
    each = ratios(seconds["LangGraph"], seconds["processes"])
    others: dict[str, float | str] = {"in threads, s": median(seconds["threads"])}
    return [
        Row(
            "two cpu-bound nodes at once, two cores", "s", median(seconds["processes"]), median(seconds["LangGraph"]),
            median(each), "x", 1.5, 1.8, others=others, spread=(min(each), max(each)), raw=seconds,
        )
    ]  # fmt: skip


def _pair(function: Any) -> Graph:
    graph = Graph("pair")
    for name in ("left", "right"):
        graph.add_node(name, function).add_edge(START, name).add_edge(name, END)
    return graph


def _peer() -> Any:
    from bench.engine_graphs import Conversation

    kit = langgraph_kit()
    graph = kit.graph(Conversation, "pair")
    for name in ("left", "right"):
        graph.add_node(name, count)
        graph.add_edge(kit.start, name)
        graph.add_edge(name, kit.end)
    return graph.compile()
