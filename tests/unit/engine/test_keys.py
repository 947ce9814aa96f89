"""Keys of nodes: told from the state when the node is planned, and kept with its task."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from treadle.domain.limit import Limit, parse_rate
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.errors import NodeError, RunFailed, UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import Send
from treadle.stores.memory import MemoryStore

SETTINGS = WorkerSettings(capacity=20, queues=("default", "mail"), poll_seconds=0.01, sweep_seconds=0.01)


def fan_out(key: Any, send: Any) -> Graph:
    graph = Graph("fan").add_node("plan", lambda state: {})
    graph.add_node("send", send, queue="mail", key=key)
    graph.add_conditional_edge("plan", lambda state: [Send("send", {"customer": n % 3}) for n in range(12)], ["send"])
    return graph.set_entry_point("plan").set_finish_point("send")


async def test_a_key_is_told_from_what_the_node_is_called_with() -> None:
    busy: Counter[int] = Counter()
    most: Counter[int] = Counter()

    async def send(state: Any) -> None:
        customer = state["customer"]
        busy[customer] += 1
        most[customer] = max(most[customer], busy[customer])
        for _ in range(5):
            await asyncio.sleep(0)
        busy[customer] -= 1

    async with Orchestrator(MemoryStore(), settings=SETTINGS) as orchestrator:
        await orchestrator.store.set_limit(Limit("mail", per_key=1))
        await orchestrator.execute(fan_out(lambda state: state["customer"], send), {}, timeout=20)
    assert most == {0: 1, 1: 1, 2: 1}


async def test_a_fixed_key_counts_for_all_tasks_of_the_node() -> None:
    async with Orchestrator(MemoryStore(), settings=SETTINGS) as orchestrator:
        graph = Graph("g").add_node("a", lambda state: {}, queue="mail", key="one")
        options = RunOptions(delay_seconds=60)
        run_id = await orchestrator.start(graph.set_entry_point("a").set_finish_point("a"), {}, options=options)
        [task] = await orchestrator.store.tasks(run_id)
        assert (task.key, task.queue) == ("one", "mail")


async def test_a_key_that_cannot_be_told_fails_the_run_and_says_which() -> None:
    async with Orchestrator(MemoryStore(), settings=SETTINGS) as orchestrator:
        with pytest.raises(RunFailed, match=r"key of node 'send' could not be told: KeyError: 'nobody'"):
            await orchestrator.execute(fan_out(lambda state: state["nobody"], print), {}, timeout=20)
        graph = Graph("g").add_node("a", print, key=lambda state: state["nobody"])
        graph.set_entry_point("a").set_finish_point("a")
        with pytest.raises(NodeError, match="nobody"):
            await orchestrator.start(graph, {})


@pytest.mark.parametrize(
    ("text", "rate"), [("10/60s", (10, 60)), ("5/m", (5, 60)), ("100/2h", (100, 7200)), ("3/s", (3, 1))]
)
def test_rates_are_read(text: str, rate: tuple[int, float]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["10", "10/", "/s", "x/s", "10/60x", "-1/s", ""])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no rate"):
        parse_rate(text)
