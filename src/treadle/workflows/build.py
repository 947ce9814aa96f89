"""The build pipeline as a graph: a goal becomes tasks, tasks become trees, and those a repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from treadle.domain.policy import RetryPolicy
from treadle.graph.build import Graph
from treadle.graph.spec import Queue, Send
from treadle.ports.context import NodeContext
from treadle.workflows.amend import Amend
from treadle.workflows.change import Change
from treadle.workflows.crew import BuildState, Crew, WorkState
from treadle.workflows.ending import Ending
from treadle.workflows.new_project import NewProject, candidates_of, cases_of
from treadle.workflows.planning import (
    Opening,
    after_analysis,
    after_answer,
    after_approval,
    after_estimate,
    free_tasks,
    repair_task,
)
from treadle.workflows.repair import Repair
from treadle.workflows.reviewing import Review
from treadle.workflows.special import Special
from treadle.workflows.tactics import Standing, choose, decide, truth_problem
from treadle.workflows.task import Task

CrewOf = Callable[[str], Awaitable[Crew]]
"""Finds the crew of a run by its id."""
WORK = ("code", "change", "special")
"""The graphs that tasks are sent through."""
_Team = Callable[[Crew], Any]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the nodes of builds wait, and how often they are tried again."""

    home: Queue = "default"
    """Of nodes that take from, or hand over to, the folder where the build was started."""
    anywhere: Queue = "default"
    """Of those that any machine may run."""
    retry: RetryPolicy | None = None


def build_graph(crew: Crew) -> Graph:
    """Return the graph of one run with its crew."""

    async def crew_of(run_id: str) -> Crew:
        return crew

    return graph_of(crew_of)


def debug_loop(crew: Crew) -> Graph:
    """Return the heart of a build, alone: write, test, reflect, fix, until a file and its tests agree.

    Start it with `{"goal": ...}`, and perhaps a `check`. It ends with `outcomes`: see `workflows.task.outcome`.
    """

    async def crew_of(run_id: str) -> Crew:
        return crew

    return _code_graph(_Nodes(crew_of, Places()))


def graph_of(crew_of: CrewOf, places: Places | None = None) -> Graph:
    """Return the graph for builds; each run has a crew of its own.

    Start it with `{"goal": ..., "check": ...}`. It ends with `report` in the state, also when it did not succeed; only
    a budget, a model or a sandbox that fails makes the run fail.
    """
    nodes = _Nodes(crew_of, places or Places())
    graph = Graph("build", "Goal to a tested repository.", state=BuildState)
    nodes.add(graph, Opening, "open", home=True)
    nodes.add(graph, Opening, "analyse", "ask", "decompose", "estimate", "approve")
    graph.add_node("code", _code_graph(nodes)).add_node("change", _change_graph(nodes))
    graph.add_node("special", _special_graph(nodes))
    nodes.add(graph, Ending, "merge", home=True)
    nodes.add(graph, Ending, "verify")
    nodes.add(graph, Ending, "commit", "give_up", home=True)
    graph.set_entry_point("open").add_edge("open", "analyse")
    graph.add_conditional_edge("analyse", after_analysis, ["ask", "decompose"])
    graph.add_conditional_edge("ask", after_answer, ["analyse", "decompose"])
    graph.add_edge("decompose", "estimate")
    graph.add_conditional_edge("estimate", after_estimate, ["approve", *WORK])
    graph.add_conditional_edge("approve", after_approval, [*WORK, "give_up"])
    for kind in WORK:
        graph.add_edge(kind, "merge")
    graph.add_conditional_edge("merge", after_merge, [*WORK, "verify", "give_up"])
    graph.add_conditional_edge("verify", after_verify, ["commit", "change", "give_up"])
    return graph.set_finish_point("commit").set_finish_point("give_up")


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Adds nodes to graphs: methods of teams, each called over the crew of its run."""

    crew_of: CrewOf
    places: Places

    def add(self, graph: Graph, team: _Team, *names: str, home: bool = False) -> None:
        for name in names:
            queue = self.places.home if home else self.places.anywhere
            graph.add_node(name, self._node(team, name), queue=queue, retry=self.places.retry)

    def _node(self, team: _Team, name: str) -> Callable[..., Awaitable[Any]]:
        async def node(state: Any, ctx: NodeContext) -> Any:
            crew = await self.crew_of(ctx.run_id)
            if state.get("task"):
                crew = await crew.of_task(state["task"]["id"])
            return await getattr(team(crew), name)(state, ctx)

        return node


def _code_graph(nodes: _Nodes) -> Graph:
    """A file of code with its tests: write, test, reflect, fix."""
    graph = Graph("code", "Write, test, reflect, fix, until code and tests agree.", state=WorkState)
    nodes.add(graph, Task, "begin")
    nodes.add(graph, NewProject, "brief", "write", "check_syntax", "write_tests", "test", "reflect", "fix")
    nodes.add(graph, Task, "prove")
    nodes.add(graph, Review, "review")
    nodes.add(graph, Task, "finish", "abandon")
    graph.set_entry_point("begin").add_edge("begin", "brief").add_edge("brief", "write")
    graph.add_edge("write", "check_syntax")
    graph.add_conditional_edge("check_syntax", after_syntax, ["write_tests", "test", "reflect"])
    graph.add_edge("write_tests", "test")
    graph.add_conditional_edge(
        "test", after_test, {"write_tests": "write_tests", "prove": "prove", "reflect": "reflect"}
    )
    moves = {"fix": "fix", "write": "write", "write_tests": "write_tests", "settle": "prove", "stop": "abandon"}
    graph.add_conditional_edge("reflect", next_move, moves)
    graph.add_edge("fix", "check_syntax")
    graph.add_conditional_edge("prove", next_move, {"review": "review", "stop": "abandon"})
    graph.add_conditional_edge("review", next_move, {"finish": "finish", "reflect": "reflect", "stop": "abandon"})
    return graph.set_finish_point("finish").set_finish_point("abandon")


def _change_graph(nodes: _Nodes) -> Graph:
    """A change to files that are there: until a check that fails passes, or tests that are written for it."""
    graph = Graph("change", "A goal to files that meet it, and on which all tests pass.", state=WorkState)
    nodes.add(graph, Task, "begin")
    nodes.add(graph, Repair, "analyse", "locate", "fix", "check_syntax", "verify", "reflect")
    nodes.add(graph, Review, "review")
    nodes.add(graph, Repair, "finish", "abandon")
    graph.set_entry_point("begin").add_edge("begin", "analyse")
    graph.add_conditional_edge("analyse", next_move, {"fix": "locate", "change": "survey", "stop": "abandon"})
    graph.add_conditional_edge("locate", next_move, {"fix": "fix", "amend": "amend"}).add_edge("fix", "check_syntax")
    graph.add_conditional_edge("check_syntax", next_move, {"verify": "verify", "reflect": "reflect"})
    graph.add_conditional_edge("verify", next_move, {"commit": "review", "reflect": "reflect"})
    graph.add_conditional_edge("reflect", next_move, {"fix": "fix", "commit": "review", "stop": "abandon"})
    _add_change(nodes, graph)
    nodes.add(graph, Amend, "amend", "judge")
    graph.add_edge("amend", "judge")
    graph.add_conditional_edge("judge", next_move, {"amend": "amend", "commit": "review", "stop": "abandon"})
    ways = {"finish": "finish", "reflect": "reflect", "weigh": "weigh", "judge": "judge", "stop": "abandon"}
    graph.add_conditional_edge("review", after_review, ways)
    return graph.set_finish_point("finish").set_finish_point("abandon")


def _add_change(nodes: _Nodes, graph: Graph) -> None:
    """Add the nodes that change files by tests of their own: `survey` begins, `finish` or `abandon` follow."""
    nodes.add(graph, Change, "survey", "write_tests", "write", "inspect", "test", "weigh", "prove")
    first = {"write_tests": "write_tests", "write": "write", "amend": "amend", "stop": "abandon"}
    graph.add_conditional_edge("survey", next_move, first)
    graph.add_conditional_edge("write_tests", after_tests, ["write", "test"])
    graph.add_edge("write", "inspect")
    graph.add_conditional_edge("inspect", next_move, {"test": "test", "weigh": "weigh"})
    graph.add_edge("test", "weigh")
    again = {"fix": "write", "write": "write", "write_tests": "write_tests"}
    graph.add_conditional_edge("weigh", next_move, {**again, "settle": "prove", "stop": "abandon"})
    graph.add_conditional_edge("prove", next_move, {"finish": "review", "stop": "abandon"})


def _special_graph(nodes: _Nodes) -> Graph:
    """Work of a specialist, who has rounds of its own."""
    graph = Graph("special", "A specialist's work, checked and reviewed.", state=WorkState)
    nodes.add(graph, Task, "begin")
    nodes.add(graph, Special, "make", "check", "reflect", "finish", "abandon")
    nodes.add(graph, Review, "review")
    graph.set_entry_point("begin").add_edge("begin", "make")
    graph.add_conditional_edge("make", next_move, {"check": "check", "reflect": "reflect"})
    graph.add_conditional_edge("check", next_move, {"review": "review", "reflect": "reflect"})
    graph.add_conditional_edge("review", next_move, {"finish": "finish", "reflect": "reflect", "stop": "abandon"})
    graph.add_conditional_edge("reflect", next_move, {"make": "make", "stop": "abandon"})
    return graph.set_finish_point("finish").set_finish_point("abandon")


def after_merge(state: BuildState) -> str | list[Send]:
    """Send the tasks that have become free; verify when all are merged."""
    move = str(state["verdict"]["action"])
    return free_tasks(state) if move == "go_on" else "verify" if move == "verify" else "give_up"


def after_review(state: WorkState) -> str:
    """Send what is not accepted back to where its next version is decided on."""
    move = next_move(state)
    if move != "reflect":
        return move
    return "weigh" if "layout" in state["brief"] else "judge" if "amend" in state["brief"] else move


def after_tests(state: WorkState) -> str:
    """Write the change once there are tests for it; later tests are run on the versions that are there."""
    return "test" if state["candidates"] else "write"


def after_verify(state: BuildState) -> str | Send:
    """Hand over what is proved; have one more task mend a whole that fails."""
    move = str(state["verdict"]["action"])
    return repair_task(state) if move == "repair" else "commit" if move == "commit" else "give_up"


def after_syntax(state: WorkState) -> str:
    """Unusable code goes back; usable code is tested, on what the user gave if there is anything, else on new tests."""
    if state["candidates"][-1]["flaw"]:
        return "reflect"
    is_given = state.get("check") or any(case.is_given for case in cases_of(state))
    return "test" if state["attempts"] or is_given else "write_tests"


def after_test(state: WorkState) -> str:
    """Have tests written once the code does what the user gave: before, they would be spent on code that is wrong.

    Prove when code and tests agree.
    """
    candidates, cases = candidates_of(state), cases_of(state)
    if not state["attempts"] and not truth_problem(candidates[choose(candidates, cases)], cases):
        return "write_tests"
    move = decide(Standing(candidates, cases, state["round"], max_rounds=1_000))
    return "prove" if move.action == "settle" and not move.dropped else "reflect"


def next_move(state: WorkState) -> str:
    """Go where the last node decided to go."""
    return str(state["move"]["action"])
