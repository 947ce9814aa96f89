"""Two nodes, one after the other. State flows along the edge; what a node returns is merged into it."""

import asyncio

from treadle import Graph, Orchestrator, State


async def research(state: State) -> dict[str, list[str]]:
    return {"findings": [f"{state['query']} are on the rise", f"{state['query']} need good tests"]}


async def write(state: State) -> dict[str, str]:
    return {"report": "\n".join(f"- {finding}" for finding in state["findings"])}


graph = Graph("simple", description="Research a question and write it up.")
graph.add_node("research", research)
graph.add_node("write", write)
graph.set_entry_point("research")
graph.add_edge("research", "write")
graph.set_finish_point("write")


async def main() -> None:
    async with Orchestrator() as orchestrator:  # in memory; Orchestrator(store="sqlite:///runs.db") survives a crash
        result = await orchestrator.execute(graph, {"query": "AI agents"})
        print(result["report"])
        for step in await orchestrator.history(result.run_id):
            print(f"{step.seq}: {step.node} wrote {', '.join(step.update)}")


if __name__ == "__main__":
    asyncio.run(main())
