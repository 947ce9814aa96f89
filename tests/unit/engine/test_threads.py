"""Sync nodes in their threads: none holds up another, or the event loop, whatever it waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flows import SOON, chain

from treadle.domain.task import RunStatus
from treadle.engine.orchestrator import Orchestrator
from treadle.errors import RunFailed
from treadle.graph.build import Graph
from treadle.graph.marks import inline
from treadle.graph.spec import END, START, Send
from treadle.stores.memory import MemoryStore


async def test_sync_nodes_that_wait_for_each_other_and_for_steps_all_get_a_thread(orchestrator: Orchestrator) -> None:
    together = threading.Barrier(40)

    def effect() -> int:
        return 1

    def node(state: Any, ctx: Any) -> dict[str, Any]:
        together.wait(SOON)
        return {"sum": ctx.step("effect", effect)}

    graph = Graph("g", state={"sum": lambda a, b: a + b}).add_node("node", node).add_edge("node", END)
    graph.add_conditional_edges(START, lambda _: [Send("node", {}) for _ in range(40)], ["node"])
    assert (await orchestrator.execute(graph, {"sum": 0}, timeout=SOON))["sum"] == 40


async def test_a_function_that_was_always_quick_and_then_waits_holds_up_nobody() -> None:
    go_on = threading.Event()

    def node(state: Any) -> dict[str, Any]:
        assert not state.get("waits") or go_on.wait(SOON)
        return {"turns": state["turns"] + 1}

    async def other(state: Any) -> None:
        go_on.set()

    graph = Graph("g", max_steps=1000).add_node("node", node).add_edge(START, "node")
    graph.add_conditional_edges("node", lambda s: "node" if s["turns"] < s["until"] else END, ["node", END])
    async with Orchestrator(MemoryStore()) as orchestrator:
        await orchestrator.execute(graph, {"turns": 0, "until": 200}, timeout=SOON)
        waiting = await orchestrator.start(graph, {"turns": 0, "until": 1, "waits": True})
        await orchestrator.execute(chain(other), timeout=SOON)
        assert (await orchestrator.wait(waiting, timeout=SOON))["turns"] == 1


async def never_waits(state: Any) -> None: ...


@inline
def inlined(state: Any) -> None: ...


def threaded(state: Any) -> None: ...


@pytest.mark.parametrize("node", [never_waits, inlined, threaded])
async def test_a_run_whose_nodes_never_wait_leaves_others_their_turn(node: Callable[[Any], Any]) -> None:
    graph = Graph("g", max_steps=5000).add_node("node", node).add_edge(START, "node")
    graph.add_conditional_edges("node", lambda _: "node", ["node", END])
    async with Orchestrator(MemoryStore()) as orchestrator:
        run_id = await orchestrator.start(graph)
        await asyncio.sleep(0)
        assert (await orchestrator.cancel(run_id)).status is RunStatus.CANCELLED


async def test_stop_iteration_fails_a_sync_node_as_any_error(orchestrator: Orchestrator) -> None:
    def node(state: Any) -> None:
        next(iter(()))

    with pytest.raises(RunFailed, match="StopIteration"):
        await orchestrator.execute(chain(node), timeout=SOON)


PROGRAM = """
import asyncio, threading
from treadle import END, START, Graph, Orchestrator

entered = threading.Event()

def node(state, ctx):
    entered.set()
    threading.main_thread().join()
    try:
        ctx.step("late", lambda: 1)
    except Exception as error:
        print(error, flush=True)
    print("the node ended")

async def main():
    orchestrator = Orchestrator()
    await orchestrator.start(Graph("g").add_node("node", node).add_edge(START, "node").add_edge("node", END))
    await asyncio.to_thread(entered.wait)
    await orchestrator.close()

asyncio.run(main())
"""


def test_a_program_does_not_end_in_the_middle_of_a_sync_node() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == ["ctx.step was called when the worker had stopped.", "the node ended"]
    assert done.stderr == ""
