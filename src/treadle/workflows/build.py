"""The build pipeline as a graph: `build` makes something new, `repair` changes an existing repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from treadle.graph.build import Graph
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState
from treadle.workflows.ending import Ending
from treadle.workflows.new_project import NewProject, candidates_of, cases_of
from treadle.workflows.repair import Repair
from treadle.workflows.tactics import Standing, choose, decide, truth_problem
from treadle.workspace import RepositoryBranch

Kind = Literal["build", "repair"]
CrewOf = Callable[[str], Awaitable[Crew]]
"""Finds the crew of a run by its id."""
AT_HOME = frozenset({"open", "commit", "give_up"})
"""Nodes that take from, or hand over to, the folder where the build was started. The others run on any machine."""
_Team = type[NewProject] | type[Ending] | type[Repair]


def build_graph(crew: Crew) -> Graph:
    """Return the graph for what the crew is to do, in one run: a branch of a repository, or a new one."""

    async def crew_of(run_id: str) -> Crew:
        return crew

    return graph_of("repair" if isinstance(crew.publisher, RepositoryBranch) else "build", crew_of)


def graph_of(kind: Kind, crew_of: CrewOf) -> Graph:
    """Return the graph for builds of one kind; each run has a crew of its own.

    Start it with `{"goal": ..., "check": ...}`. It ends with `report` in the state, also when it did not succeed; only
    a budget, a model or a sandbox that fails makes the run fail.
    """
    return _repair_graph(crew_of) if kind == "repair" else _new_graph(crew_of)


def _add(graph: Graph, crew_of: CrewOf, team: _Team, *names: str) -> None:
    for name in names:
        graph.add_node(name, _node(getattr(team, name), crew_of, team))


def _node(method: Callable[..., Awaitable[Any]], crew_of: CrewOf, team: _Team) -> Callable[..., Awaitable[Any]]:
    async def node(state: WorkState, ctx: NodeContext) -> Any:
        return await method(team(await crew_of(ctx.run_id)), state, ctx)

    return node


def _new_graph(crew_of: CrewOf) -> Graph:
    graph = Graph("build", "Goal to a tested repository.", state=WorkState)
    _add(
        graph, crew_of, NewProject, "analyse", "plan", "write", "check_syntax", "write_tests", "test", "reflect", "fix"
    )
    _add(graph, crew_of, Ending, "verify", "commit", "give_up")
    graph.set_entry_point("analyse")
    graph.add_edge("analyse", "plan").add_edge("plan", "write").add_edge("write", "check_syntax")
    graph.add_conditional_edge("check_syntax", after_syntax, ["write_tests", "test", "reflect"])
    graph.add_edge("write_tests", "test")
    graph.add_conditional_edge("test", after_test, ["write_tests", "verify", "reflect"])
    moves = {"fix": "fix", "write": "write", "write_tests": "write_tests", "settle": "verify", "stop": "give_up"}
    graph.add_conditional_edge("reflect", next_move, moves)
    graph.add_edge("fix", "check_syntax")
    graph.add_conditional_edge("verify", next_move, {"commit": "commit", "stop": "give_up"})
    return graph.set_finish_point("commit").set_finish_point("give_up")


def _repair_graph(crew_of: CrewOf) -> Graph:
    graph = Graph("repair", "A failing check to a branch on which it passes.", state=WorkState)
    _add(graph, crew_of, Repair, "open", "analyse", "plan", "fix", "check_syntax", "verify", "reflect")
    _add(graph, crew_of, Repair, "commit", "give_up")
    graph.set_entry_point("open").add_edge("open", "analyse")
    graph.add_conditional_edge("analyse", next_move, {"fix": "plan", "stop": "give_up"})
    graph.add_edge("plan", "fix").add_edge("fix", "check_syntax")
    graph.add_conditional_edge("check_syntax", next_move, {"verify": "verify", "reflect": "reflect"})
    graph.add_conditional_edge("verify", next_move, {"commit": "commit", "reflect": "reflect"})
    graph.add_conditional_edge("reflect", next_move, {"fix": "fix", "stop": "give_up"})
    return graph.set_finish_point("commit").set_finish_point("give_up")


def after_syntax(state: WorkState) -> str:
    """Unusable code goes back; usable code is tested, on what the user gave if there is anything, else on new tests."""
    if state["candidates"][-1]["flaw"]:
        return "reflect"
    is_given = state.get("check") or any(case["origin"] == "goal" for case in state["cases"])
    return "test" if state["attempts"] or is_given else "write_tests"


def after_test(state: WorkState) -> str:
    """Have tests written once the code does what the user gave: before, they would be spent on code that is wrong.

    Verify when code and tests agree.
    """
    candidates, cases = candidates_of(state), cases_of(state)
    if not state["attempts"] and not truth_problem(candidates[choose(candidates, cases)], cases):
        return "write_tests"
    move = decide(Standing(candidates, cases, state["round"], max_rounds=1_000))
    return "verify" if move.action == "settle" and not move.dropped else "reflect"


def next_move(state: WorkState) -> str:
    """Go where the last node decided to go."""
    return str(state["move"]["action"])
