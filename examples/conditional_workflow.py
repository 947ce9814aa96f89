"""A draft goes back to its writer until the reviewer is content: a conditional edge that closes a loop."""

import asyncio
import operator
from typing import Annotated, TypedDict

from treadle import END, START, Graph, Orchestrator


class Review(TypedDict, total=False):
    topic: str
    draft: str
    remarks: Annotated[list[str], operator.add]  # a reducer: what nodes return is added to what is there


async def write(state: Review) -> Review:
    number = len(state.get("remarks", [])) + 1
    return {"draft": f"Draft {number} about {state['topic']}" + ", with numbers" * (number - 1)}


async def review(state: Review) -> Review:
    return {"remarks": [] if "numbers" in state["draft"] else ["Where are the numbers?"]}


def verdict(state: Review) -> str:
    return "approve" if "numbers" in state["draft"] else "revise"


async def publish(state: Review) -> None:
    print(f"Published: {state['draft']}")


graph = Graph("review", state=Review, max_steps=20)
graph.add_node("write", write).add_node("review", review).add_node("publish", publish)
graph.add_edge(START, "write").add_edge("write", "review")
graph.add_conditional_edge("review", verdict, {"approve": "publish", "revise": "write"})
graph.add_edge("publish", END)


async def main() -> None:
    print(graph.draw("text"))
    async with Orchestrator() as orchestrator:
        async for update in orchestrator.stream(graph, {"topic": "tea"}, modes="updates"):
            for node, values in update.items():
                print(f"{node}: {values}")


if __name__ == "__main__":
    asyncio.run(main())
