"""Agents side by side: simple tickets go to three small ones at once, a hard one to a single large one.

A graph sends each ticket to the pool of its complexity; they are worked on as they come, and the report waits for all.
The models are scripted, so that this runs anywhere; leave `.llm(...)` out, and those of your settings are asked.
"""

import asyncio
import operator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypedDict

from treadle import END, Graph, Orchestrator, PipelineBuilder, Send
from treadle.agents import Pipeline
from treadle.models.adapters.scripted import ScriptedModel

TICKETS = {"rename a button": "simple", "fix a typo": "simple", "add a logo": "simple", "find the leak": "complex"}


class State(TypedDict, total=False):
    ticket: str
    answers: Annotated[list[str], operator.add]


def agent(name: str, folder: str, said: str) -> Pipeline:
    """An agent with a model of its own; each ticket is a thread of its own."""
    model = ScriptedModel(lambda request: f"{said} {request.messages[-1].content}")
    return PipelineBuilder(name).llm(model).preamble("You answer tickets.").home(Path(folder)).build()


def pool_graph(pools: dict[str, Pipeline]) -> Graph:
    def work_in(pool: str) -> Any:
        async def work(state: State) -> dict[str, list[str]]:
            reply = await pools[pool].run(state["ticket"].replace(" ", "-"), state["ticket"])
            return {"answers": [f"{pool}: {reply.text}"]}

        return work

    async def report(state: State) -> dict[str, list[str]]:
        return {"answers": [f"{len(state['answers'])} tickets are done"]}

    graph = Graph("tickets", state=State)
    for pool in pools:
        graph.add_node(pool, work_in(pool)).add_edge(pool, "report")
    sends = [Send(complexity, {"ticket": ticket}) for ticket, complexity in TICKETS.items()]
    graph.set_conditional_entry_point(lambda state: sends, list(pools))
    return graph.add_node("report", report).add_edge("report", END)


async def main() -> None:
    with TemporaryDirectory() as folder:
        pools = {"simple": agent("small", folder, "Quickly:"), "complex": agent("large", folder, "With care:")}
        async with pools["simple"], pools["complex"], Orchestrator() as orchestrator:
            result = await orchestrator.execute(pool_graph(pools), {})
            print("\n".join(result["answers"]))


asyncio.run(main())
