"""compile() reports every problem at once, each with its cure; draw() shows the graph."""

from __future__ import annotations

from typing import Literal

import pytest
from shapes import graph_of, mark

from treadle.errors import GraphError, UsageError
from treadle.graph.build import Graph
from treadle.graph.spec import END, START, Command, Send


def problems(graph: Graph, **arguments: list[str]) -> list[str]:
    with pytest.raises(GraphError) as caught:
        graph.compile(**arguments)  # type: ignore[arg-type]
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_an_empty_graph_says_so() -> None:
    assert problems(Graph("g")) == ["It has no nodes. Add one with add_node(name, func)."]


def test_a_missing_target_is_named_with_the_nearest_node() -> None:
    graph = graph_of("a-b writer-END", nodes="a b writer").add_edge("b", "writr")
    [problem] = problems(graph)  # that `writer` cannot be reached would only repeat it
    assert problem == "There is no node 'writr', which the edge 'b' -> 'writr' names. Did you mean 'writer'?"


def test_a_target_like_no_other_comes_with_the_call_that_adds_it() -> None:
    [problem] = problems(graph_of("a-END").add_edge("a", "zzz"))
    assert "Add it with add_node('zzz', func)." in problem


def test_every_problem_is_reported_at_once() -> None:
    graph = Graph("g")
    graph.add_node("a", mark("a")).add_node("a", mark("a")).add_node("x/y", mark("x"))
    graph.add_edge("a", "nowhere").add_edge("ghost", "a")
    graph.add_conditional_edge("a", lambda state: "p", {"p": "lost"})
    graph.add_node("c", mark("c"), destinations=["gone"])
    found = problems(graph, interrupt_before=["nobody"])
    for wanted in (
        "Node 'a' is added twice", "'x/y' cannot name a node", "'nowhere'", "'ghost'", "'lost'", "'gone'", "'nobody'",
        "It has no entry. Name the first node with set_entry_point(node).",
    ):  # fmt: skip
        assert sum(wanted in problem for problem in found) == 1, (wanted, found)


def test_a_missing_target_hides_nothing_else_that_is_wrong() -> None:
    graph = graph_of("a-b a,c=d d-c", nodes="a b c d e").add_edge("b", "zzz")
    assert problems(graph) == [
        "There is no node 'zzz', which the edge 'b' -> 'zzz' names. Add it with add_node('zzz', func).",
        "Node 'e' can never be reached. Lead to it with add_edge(source, 'e'), or remove it.",
        "It has no finish. Name the last node with set_finish_point(node), or add_edge(node, END).",
        "The join 'd' can never complete: it waits for 'c', which is reached only through 'd' itself. Remove 'c' from "
        "the list, or lead to 'c' another way.",
    ]


def test_what_cannot_be_is_reported_with_its_cure() -> None:
    inner = graph_of("x-END", nodes="x")
    graph = graph_of("a-b b-c c-END", nodes="c")
    graph.add_node("a", 5, effects="twice", join="most", timeout=-1, retry=0, queue="")  # type: ignore[arg-type]
    graph.add_node("b", inner, timeout=5).add_edge("c", None)  # type: ignore[arg-type]
    graph.add_conditional_edge("c", "to the end", [END])  # type: ignore[arg-type]
    found = problems(graph)
    for wanted in (
        "is given 5, which cannot be called. Give it a function", "effects='twice'. Use 'idempotent' or",
        "join='most'. Use 'all' or 'any'.", "timeout=-1. Give seconds above 0", "0 attempts. Give at least 1",
        "a queue without a name", "'b' is a graph. Give retry, timeout, cache and effects to the nodes of that graph.",
        "the condition 'to the end', which cannot be called", "None, which is no name of a node",
    ):  # fmt: skip
        assert sum(wanted in problem for problem in found) == 1, (wanted, found)


def test_unreachable_nodes_and_dead_ends_are_reported_together() -> None:
    found = problems(graph_of("a-b b-END a-c d-b", nodes="a b c d"))
    assert found == [
        "Node 'd' can never be reached. Lead to it with add_edge(source, 'd'), or remove it.",
        "Node 'c' leads nowhere. Use set_finish_point('c') if it is a last node.",
    ]


def test_a_graph_without_a_finish_says_how_to_add_one() -> None:
    [problem] = problems(graph_of("a-b b-a"))
    assert problem.startswith("It has no finish. Name the last node with set_finish_point(node)")


def test_a_join_that_can_never_complete_is_found() -> None:
    graph = graph_of("a-b a,c=d d-c d-END b-END", nodes="a b c d")
    [problem] = problems(graph)
    assert "The join 'd' can never complete: it waits for 'c', which is reached only through 'd' itself." in problem


def test_a_list_of_sources_that_closes_a_loop_is_no_problem() -> None:
    graph_of("a-d d-b d-c b,c=d", nodes="a d b c").add_conditional_edge("d", lambda s: END, [END, "b", "c"]).compile()


def test_join_any_does_not_go_with_a_list_of_sources() -> None:
    graph = graph_of("a-b a-c", nodes="a b c").add_node("d", mark("d"), join="any")
    graph.add_edge(["b", "c"], "d").set_finish_point("d")
    [problem] = problems(graph)
    assert "join='any'" in problem


@pytest.mark.parametrize("name", [START, END, "a/b", "a#2", "a[0]"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    assert any("cannot name a node" in problem for problem in problems(Graph("g").add_node(name, mark("x"))))


def test_targets_are_read_from_annotations() -> None:
    def choose(state: object) -> Literal["b", "c"]:
        return "b"

    def jump(state: object) -> Command[Literal["c"]]:
        return Command(goto="c")

    graph = Graph("g").add_node("a", mark("a")).add_node("b", jump).add_node("c", mark("c"))
    graph.set_entry_point("a").add_conditional_edge("a", choose).set_finish_point("c")
    compiled = graph.compile()
    assert ("a", "b") in compiled.hops and ("a", "c") in compiled.hops and ("b", "c") in compiled.hops
    assert ("a", END) not in compiled.hops


def test_a_condition_without_targets_may_go_anywhere() -> None:
    graph = graph_of("a-b b-END").add_conditional_edge("b", lambda state: Send("a"))
    assert {("b", "a"), ("b", "b"), ("b", END)} <= set(graph.compile().hops)


def test_compiling_again_gives_the_same_object_until_something_is_added() -> None:
    graph = graph_of("a-END")
    first = graph.compile()
    assert graph.compile() is first
    graph.add_node("b", mark("b")).add_edge("a", "b").set_finish_point("b")
    assert graph.compile() is not first


def test_the_hash_names_the_topology_and_nothing_else() -> None:
    first = graph_of("a-b b-END").compile()
    assert first.hash == graph_of("a-b b-END").compile().hash
    assert first.pin == f"g@{first.hash}"
    others = [
        graph_of("a-b b-END a-END"), graph_of("a-c c-END"), graph_of("a-b b-END", name="h"),
        graph_of("a-b b-END", nodes="b a").set_entry_point("a"),
    ]  # fmt: skip
    assert len({first.hash, *(graph.compile().hash for graph in others)}) == 5
    slower = graph_of("a-END").add_node("b", mark("b"), timeout=5, retry=3, priority=2).add_edge("a", "b")
    slower.set_finish_point("b")
    plain = graph_of("a-END").add_node("b", mark("b")).add_edge("a", "b").set_finish_point("b")
    assert slower.compile().hash == plain.compile().hash


def test_a_node_may_be_given_by_its_function_alone() -> None:
    def fetch(state: object) -> None: ...
    def store(state: object) -> None: ...

    graph = Graph("g").add_sequence([fetch, store]).set_entry_point("fetch").set_finish_point("store")
    assert list(graph.compile().nodes) == ["fetch", "store"]


def test_a_graph_that_is_broken_inside_is_reported_when_it_is_added() -> None:
    with pytest.raises(GraphError, match="'inner'"):
        Graph("outer").add_node("sub", Graph("inner"))


# -- draw --------------------------------------------------------------------------------------------------------------


def loop_with_subgraph() -> Graph:
    inner = graph_of("x-y y-END", name="inner")
    graph = graph_of("a-sub", nodes="a", name="outer").add_node("sub", inner)
    return graph.add_conditional_edge("sub", lambda state: "stop", {"again": "a", "stop": END})


def test_mermaid_shows_nodes_edges_labels_and_subgraphs() -> None:
    assert loop_with_subgraph().draw() == (
        "flowchart TD\n"
        "    START([start])\n"
        "    END([end])\n"
        '    n_a["a"]\n'
        '    subgraph n_sub["sub"]\n'
        "        sub_START([start])\n"
        "        sub_END([end])\n"
        '        sub_n_x["x"]\n'
        '        sub_n_y["y"]\n'
        "        sub_START --> sub_n_x\n"
        "        sub_n_x --> sub_n_y\n"
        "        sub_n_y --> sub_END\n"
        "    end\n"
        "    START --> n_a\n"
        "    n_a --> n_sub\n"
        "    n_sub -.->|again| n_a\n"
        "    n_sub -.->|stop| END\n"
    )


def test_text_shows_the_same_and_which_edges_lead_back() -> None:
    assert loop_with_subgraph().draw("text") == (
        "outer\n"
        "  START --> a\n"
        "  a --> sub\n"
        "  sub -?[again]-> a  (again)\n"
        "  sub -?[stop]-> END\n"
        "  sub | inner\n"
        "  sub |   START --> x\n"
        "  sub |   x --> y\n"
        "  sub |   y --> END\n"
    )


def test_nodes_whose_names_differ_only_in_punctuation_stay_apart_in_mermaid() -> None:
    graph = graph_of("a.b-a_b a_b-a:b a:b-END")
    lines = [line for line in graph.draw().splitlines() if '["' in line]
    assert len({line.split("[")[0].strip() for line in lines}) == 3


def test_there_are_two_styles() -> None:
    with pytest.raises(UsageError, match="'dot'"):
        graph_of("a-END").draw("dot")  # type: ignore[arg-type]
