"""The examples of the description that users come from run unchanged but for the package name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

RESEARCH = """
import asyncio
from treadle import Graph, State, Orchestrator, NodeRegistry

# Create registry and register node functions
registry = NodeRegistry()

@registry.register("researcher")
async def researcher(state: State) -> dict:
    query = state.get("query", "")
    return {
        "findings": [f"Finding about {query}"],
        "sources": ["source1.com"]
    }

@registry.register("writer")
async def writer(state: State) -> dict:
    findings = state.get("findings", [])
    return {
        "report": f"Report with {len(findings)} findings"
    }

# Create workflow graph
graph = Graph(name="research_workflow")
graph.add_node("researcher")
graph.add_node("writer")
graph.set_entry_point("researcher")
graph.add_edge("researcher", "writer")
graph.set_finish_point("writer")
graph.compile()

# Execute
async def main():
    orchestrator = Orchestrator(registry=registry)
    result = await orchestrator.execute(
        graph,
        initial_state={"query": "AI trends"}
    )
    print(result.get("report"))

asyncio.run(main())
"""

ROUTING = """
from treadle import Graph
from treadle.core.graph import END

graph = Graph(name="review_workflow")
graph.add_node("writer")
graph.add_node("reviewer")
graph.add_node("publisher")

graph.set_entry_point("writer")
graph.add_edge("writer", "reviewer")

# Route based on review decision
def route_after_review(state: dict) -> str:
    return state.get("decision", "revise")

graph.add_conditional_edge(
    "reviewer",
    route_after_review,
    {
        "approve": "publisher",
        "revise": "writer",  # Loop back
    }
)

graph.set_finish_point("publisher")
graph.compile()
"""

STATE = """
from treadle import State
state = State(workflow_id="wf_123")
state["query"] = "AI trends"
state["results"] = []

# Access data
query = state.get("query")
state.update({"new_key": "value"})

# Checkpoint for fault tolerance
checkpoint = state.checkpoint("current_node")
"""


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "example.py", "exec"), names)
    return names


def test_researcher_and_writer(capsys: pytest.CaptureFixture[str]) -> None:
    run(RESEARCH)
    assert capsys.readouterr().out == "Report with 1 findings\n"


def test_conditional_routing() -> None:
    from treadle import NodeRegistry, Orchestrator

    graph, registry, drafts = run(ROUTING)["graph"], NodeRegistry(), []

    @registry.register("writer")
    async def writer(state: Any) -> dict[str, Any]:
        drafts.append(len(drafts))
        return {"draft": len(drafts)}

    @registry.register("reviewer")
    async def reviewer(state: Any) -> dict[str, Any]:
        return {"decision": "approve"} if state["draft"] == 3 else {}

    @registry.register("publisher")
    async def publisher(state: Any) -> dict[str, Any]:
        return {"published": state["draft"]}

    async def main() -> Any:
        async with Orchestrator(registry=registry) as orchestrator:
            return await orchestrator.execute(graph, {}, timeout=10)

    assert asyncio.run(main())["published"] == 3


def test_state() -> None:
    names = run(STATE)
    state = names["state"]
    state["query"] = "changed"
    state.restore_from_checkpoint(names["checkpoint"])
    assert state.to_dict() == {"query": "AI trends", "results": [], "new_key": "value"}
    assert (state.workflow_id, names["checkpoint"].node) == ("wf_123", "current_node")
