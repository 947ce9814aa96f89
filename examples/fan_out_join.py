"""Work over data in parallel: one Send per item, and a join that sees all results in the order of the items."""

import asyncio
import operator
from typing import Annotated, TypedDict

from treadle import END, START, Graph, Orchestrator, RetryPolicy, Send, State


class Count(TypedDict, total=False):
    texts: list[str]
    words: Annotated[list[int], operator.add]
    longest: Annotated[int, max]
    summary: str


def split(state: State) -> list[Send]:
    return [Send("count", {"text": text}) for text in state["texts"]]


async def count(state: State) -> dict[str, object]:
    await asyncio.sleep(0.1)  # all items take this long together, not one after the other
    words = state["text"].split()
    return {"words": [len(words)], "longest": max(map(len, words))}


def summarise(state: State) -> dict[str, str]:
    return {"summary": f"{sum(state['words'])} words {state['words']}, the longest has {state['longest']} letters"}


graph = Graph("count", state=Count)
graph.add_node("count", count, retry=RetryPolicy(max_attempts=3))
graph.add_node("summarise", summarise)
graph.add_conditional_edge(START, split, ["count"])
graph.add_edge("count", "summarise")
graph.add_edge("summarise", END)


async def main() -> None:
    texts = ["the quick brown fox", "jumps", "over the lazy dog"]
    async with Orchestrator() as orchestrator:
        print((await orchestrator.execute(graph, {"texts": texts}))["summary"])
        print((await orchestrator.execute(graph, {"texts": ["nothing else"]}))["summary"])


if __name__ == "__main__":
    asyncio.run(main())
