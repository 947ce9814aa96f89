"""Graphs that the acceptance tests run with `treadle run graphs:NAME`."""

import asyncio
import itertools
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

from treadle import Graph, interrupt


class Seen(TypedDict, total=False):
    n: int
    seen: Annotated[list[str], operator.add]
    answer: Any


def named(name: str) -> Any:
    async def node(state: Any, ctx: Any) -> dict[str, Any]:
        ctx.log(f"in {name}")
        return {"seen": [name]}

    return node


async def ask(state: Any) -> dict[str, Any]:
    return {"answer": interrupt({"question": "Go on?"})}


async def wait_for_file(state: Any) -> dict[str, Any]:
    """Ends as soon as there is a file `go`."""
    while not Path("go").exists():  # noqa: ASYNC110  # another process makes the file
        await asyncio.sleep(0.05)
    return {"seen": ["waited"]}


async def need_file(state: Any) -> dict[str, Any]:
    if not Path("fixed").exists():
        raise ValueError("the file 'fixed' is missing")
    return {"seen": ["fixed"]}


def chain(name: str, *nodes: Any) -> Graph:
    graph = Graph(name, state=Seen)
    for node in nodes:
        graph.add_node(node[0], node[1])
    graph.set_entry_point(nodes[0][0])
    for before, after in itertools.pairwise(nodes):
        graph.add_edge(before[0], after[0])
    return graph.set_finish_point(nodes[-1][0])


plain = chain("plain", ("one", named("one")), ("two", named("two")))
asking = chain("asking", ("one", named("one")), ("ask", ask))
waiting = chain("waiting", ("one", named("one")), ("wait", wait_for_file), ("two", named("two")))
failing = chain("failing", ("one", named("one")), ("need", need_file))
