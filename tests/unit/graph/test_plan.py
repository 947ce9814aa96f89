"""What starts when, and with which state: graphs by hand, finished first-come and last-come first."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from shapes import graph_of, mark, visits

from treadle.domain.state import State
from treadle.errors import MergeConflict, StepLimitExceeded
from treadle.graph.build import Graph
from treadle.graph.spec import END, START, Command, Send
from treadle.testing.walk import Pick, Walk, first, last


@pytest.fixture(params=[first, last], ids=["first come", "last come"])
def pick(request: pytest.FixtureRequest) -> Pick:
    order: Pick = request.param
    return order


def walked(graph: Graph, pick: Pick = first, **state: Any) -> Walk:
    return Walk(graph, state, pick=pick).run()


def trail(graph: Graph, pick: Pick = first, **state: Any) -> str:
    return " ".join(walked(graph, pick, **state).result["trail"])


# -- forks and joins ---------------------------------------------------------------------------------------------------


def test_a_chain_runs_in_order_and_each_node_sees_what_came_before(pick: Pick) -> None:
    walk = walked(graph_of("a-b b-c c-END"), pick, trail=["start"])
    assert walk.result == {"trail": ["start", "a", "b", "c"]}
    assert walk.finished == ["a", "b", "c"]


def test_a_diamond_joins_once_and_merges_in_order_of_declaration(pick: Pick) -> None:
    walk = walked(graph_of("a-b a-c b-d c-d d-END"), pick)
    assert walk.result["trail"] == ["a", "b", "c", "d"]
    assert sorted(walk.finished) == ["a", "b", "c", "d"]


def test_branches_do_not_see_each_other_and_the_join_sees_both(pick: Pick) -> None:
    seen = {}

    def look(name: str) -> Any:
        def node(state: State) -> dict[str, Any]:
            seen[name] = list(state["trail"])
            return {"trail": [name]}

        return node

    graph = Graph("g", state={"trail": operator.add})
    for name in "abcd":
        graph.add_node(name, look(name))
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge("b", "d").add_edge("c", "d")
    walked(graph.set_finish_point("d"), pick, trail=["s"])
    assert seen == {"a": ["s"], "b": ["s", "a"], "c": ["s", "a"], "d": ["s", "a", "b", "c"]}


def test_what_follows_a_fast_branch_starts_before_the_slow_one_is_done() -> None:
    walk = Walk(graph_of("fast-after slow-END after-END START-fast START-slow", nodes="fast slow after"))
    assert walk.step("fast") == ["after"]
    assert [live.id for live in walk.ready] == ["slow", "after"]


def test_nested_forks_join_inside_out(pick: Pick) -> None:
    graph = graph_of("a-b a-c b-d b-e d-f e-f f-g c-g g-END", nodes="a b c d e f g")
    walk = walked(graph, pick)
    assert sorted(walk.finished) == list("abcdefg")
    assert walk.finished[-1] == "g"
    assert sorted(walk.result["trail"]) == list("abcdefg")
    assert walk.result == walked(graph).result


def test_a_change_made_before_the_fork_is_counted_once_at_the_join(pick: Pick) -> None:
    graph = graph_of("a-b a-c b-d c-d d-END", state={"trail": operator.add, "n": operator.add})
    graph.nodes.clear()
    for name in "abcd":
        graph.add_node(name, mark(name, n=1))
    assert walked(graph, pick, n=10).result["n"] == 14


def test_branches_that_fork_and_meet_crosswise_count_each_change_once(pick: Pick) -> None:
    graph = graph_of("a-b a-c b-d b-e c-d c-e d-f e-f f-END", nodes="a b c d e f")
    walk = walked(graph, pick)
    assert sorted(walk.result["trail"]) == list("abcdef")
    assert len(walk.finished) == 6


def test_a_fork_at_the_start_joins_like_any_other(pick: Pick) -> None:
    assert trail(graph_of("START-a START-b a-c b-c c-END", nodes="a b c"), pick) == "a b c"


def test_branches_that_end_apart_meet_in_the_result(pick: Pick) -> None:
    assert trail(graph_of("a-b a-c b-END c-END", nodes="a b c"), pick) == "a b c"


def test_a_node_with_an_edge_straight_to_the_end_keeps_its_changes(pick: Pick) -> None:
    assert trail(graph_of("a-b a-END b-END"), pick) == "a b"


# -- conditions --------------------------------------------------------------------------------------------------------


def diamond_where(chosen: Any) -> Graph:
    graph = graph_of("b-d c-d d-END START-a", nodes="a b c d")
    return graph.add_conditional_edge("a", lambda state: chosen, ["b", "c"])


@pytest.mark.parametrize(
    ("chosen", "expected"), [("b", "a b d"), ("c", "a c d"), (["b", "c"], "a b c d"), (["c", "b"], "a b c d")]
)
def test_a_join_waits_only_for_the_branches_that_were_taken(chosen: Any, expected: str, pick: Pick) -> None:
    assert trail(diamond_where(chosen), pick) == expected


def test_a_condition_that_chooses_one_node_twice_starts_it_once(pick: Pick) -> None:
    assert trail(diamond_where(["b", "b"]), pick) == "a b d"


def test_a_branch_that_stops_short_of_the_join_delays_it_no_longer(pick: Pick) -> None:
    graph = graph_of("a-b a-c c-d d-END", nodes="a b c d")
    graph.add_conditional_edge("b", lambda state: END, ["d", END])
    walk = walked(graph, pick)
    assert sorted(walk.finished) == list("abcd")
    assert sorted(walk.result["trail"]) == list("abcd")


def test_a_skip_travels_through_a_chain_of_joins(pick: Pick) -> None:
    graph = graph_of("START-a b-c c-d a-e d-e e-END", nodes="a b c d e")
    graph.add_edge(START, "x").add_node("x", mark("x")).add_conditional_edge("x", lambda state: END, ["b", END])
    assert set(walked(graph, pick).result["trail"]) == {"a", "x", "e"}


def test_a_join_behind_a_slow_branch_that_could_come_waits_for_it() -> None:
    graph = graph_of("a-b a-c c-d d-END", nodes="a b c d").add_conditional_edge("b", lambda s: "d", ["d", END])
    walk = Walk(graph)
    walk.step("a")
    assert walk.step("c") == []
    assert walk.step("b") == ["d"]


def test_a_start_that_is_a_condition_takes_one_way(pick: Pick) -> None:
    graph = graph_of("a-END b-END START-x x-END", nodes="a b x")
    graph.edges = [edge for edge in graph.edges if edge[0] != (START,)]
    graph.set_conditional_entry_point(lambda state: "b", ["a", "b", "x"])
    assert trail(graph, pick) == "b"


# -- loops -------------------------------------------------------------------------------------------------------------


def looping(rounds: int) -> Graph:
    graph = graph_of("a-b b-c d-END", nodes="a b c d")
    return graph.add_conditional_edge(
        "c", lambda state: "again" if visits(state, "c") < rounds else "out", {"again": "b", "out": "d"}
    )


def test_a_loop_visits_its_nodes_under_new_names_until_it_is_left(pick: Pick) -> None:
    walk = walked(looping(3), pick)
    assert walk.finished == ["a", "b", "c", "b#2", "c#2", "b#3", "c#3", "d"]
    assert " ".join(walk.result["trail"]) == "a b c b c b c d"


def test_a_node_may_lead_back_to_itself(pick: Pick) -> None:
    graph = graph_of("a-b c-END START-a", nodes="a b c")
    graph.add_conditional_edge("b", lambda state: "b" if visits(state, "b") < 4 else "c", ["b", "c"])
    assert walked(graph, pick).finished == ["a", "b", "b#2", "b#3", "b#4", "c"]


def test_an_inner_loop_starts_afresh_in_each_visit_of_the_outer(pick: Pick) -> None:
    graph = graph_of("o-i i-j k-END START-o", nodes="o i j k")

    def route(state: State) -> str:
        if visits(state, "j") % 2:
            return "i"
        return "o" if visits(state, "o") < 2 else "k"

    graph.add_conditional_edge("j", route, ["i", "o", "k"])
    walk = walked(graph, pick)
    assert " ".join(walk.result["trail"]) == "o i j i j o i j i j k"
    assert len(set(walk.finished)) == len(walk.finished) == 11


def test_a_fork_and_join_inside_a_loop_join_once_per_visit(pick: Pick) -> None:
    graph = graph_of("h-l h-r l-j r-j e-END START-h", nodes="h l r j e")
    graph.add_conditional_edge("j", lambda state: "h" if visits(state, "j") < 3 else "e", ["h", "e"])
    walk = walked(graph, pick)
    assert " ".join(walk.result["trail"]) == "h l r j h l r j h l r j e"
    assert sorted(walk.finished) == sorted(
        ["h", "l", "r", "j", "h#2", "l#2", "r#2", "j#2", "h#3", "l#3", "r#3", "j#3", "e"]
    )


def test_a_loop_may_be_left_from_its_middle(pick: Pick) -> None:
    graph = graph_of("b-c c-a d-END START-a", nodes="a b c d")
    graph.add_conditional_edge("a", lambda state: "d" if visits(state, "a") == 3 else "b", ["b", "d"])
    assert trail(graph, pick) == "a b c a b c a d"


def test_a_join_outside_waits_until_the_loop_beside_it_is_left(pick: Pick) -> None:
    graph = graph_of("s-a s-x x-z z-END", nodes="s a x z")
    graph.add_conditional_edge("a", lambda state: "a" if visits(state, "a") < 3 else "z", ["a", "z"])
    walk = walked(graph, pick)
    assert walk.finished[-1] == "z"
    assert sorted(walk.result["trail"]) == ["a", "a", "a", "s", "x", "z"]


def test_two_loops_over_one_head_are_told_apart(pick: Pick) -> None:
    graph = graph_of("h-p h-q e-END START-h", nodes="h p q e")
    graph.add_conditional_edge("p", lambda s: "h" if visits(s, "p") < 2 else END, ["h", END])
    graph.add_conditional_edge("q", lambda s: "h" if visits(s, "q") < 2 else "e", ["h", "e"])
    walk = walked(graph, pick)
    assert len(set(walk.finished)) == len(walk.finished)
    assert walk.result == walked(graph, first).result
    assert sorted(walk.finished) == sorted(walked(graph, first).finished)


def test_a_loop_that_is_never_left_ends_at_the_step_limit() -> None:
    graph = graph_of("a-b b-END", max_steps=25).add_conditional_edge("b", lambda state: "a", ["a", END])
    walk = Walk(graph)
    with pytest.raises(StepLimitExceeded, match="more than 25 steps"):
        walk.run()
    assert len(walk.finished) == 25


# -- Send --------------------------------------------------------------------------------------------------------------


def fan_out(items: list[Any], target: str = "w") -> Graph:
    graph = Graph("g", state={"trail": operator.add, "got": operator.add})
    graph.add_node("plan", mark("plan"))
    graph.add_node("w", lambda state: {"got": [state["item"]]})
    graph.add_node("sum", mark("sum")).set_entry_point("plan")
    graph.add_conditional_edge("plan", lambda state: [Send(target, {"item": item}) for item in items], [target])
    return graph.add_edge("w", "sum").set_finish_point("sum")


def test_a_fan_out_runs_each_item_and_what_follows_once_in_order_of_the_items(pick: Pick) -> None:
    walk = walked(fan_out([3, 1, 2]), pick)
    assert walk.result["got"] == [3, 1, 2]
    assert walk.result["trail"] == ["plan", "sum"]
    assert sorted(walk.finished) == ["plan", "sum", "w[plan:0]", "w[plan:1]", "w[plan:2]"]


def test_what_a_send_carries_is_seen_by_its_node_and_by_nobody_else(pick: Pick) -> None:
    assert "item" not in walked(fan_out([1]), pick).result


def test_an_empty_fan_out_satisfies_what_would_have_followed(pick: Pick) -> None:
    walk = walked(fan_out([]), pick)
    assert walk.finished == ["plan", "sum"]
    assert walk.result == {"trail": ["plan", "sum"]}


def test_a_send_of_something_that_is_no_mapping_is_given_as_it_is(pick: Pick) -> None:
    graph = Graph("g", state={"got": operator.add}).add_node("w", lambda item: {"got": [item * 2]})
    graph.set_conditional_entry_point(lambda state: [Send("w", n) for n in (1, 2, 3)], ["w"]).set_finish_point("w")
    assert walked(graph, pick).result == {"got": [2, 4, 6]}


def test_sends_may_go_to_several_nodes_beside_plain_edges(pick: Pick) -> None:
    graph = graph_of("p-x x-z u-z v-z z-END START-p", nodes="p x u v z")
    graph.add_conditional_edge("p", lambda state: [Send("u"), Send("v"), Send("u")], ["u", "v"])
    walk = walked(graph, pick)
    assert walk.result["trail"] == ["p", "x", "u", "u", "v", "z"]
    assert walk.finished[-1] == "z"


def test_nested_fan_outs_collect_at_the_one_join(pick: Pick) -> None:
    graph = graph_of("x-z z-END START-p", nodes="p w x z")
    graph.add_conditional_edge("p", lambda state: [Send("w", {"n": n}) for n in range(3)], ["w"])
    graph.add_conditional_edge("w", lambda state: [Send("x", {"m": m}) for m in range(state["n"])], ["x"])
    walk = walked(graph, pick)
    assert sorted(walk.result["trail"]) == ["p", "w", "w", "w", "x", "x", "x", "z"]
    assert walk.result == walked(graph, first).result
    assert walk.finished[-1] == "z"


def test_a_fan_out_in_a_loop_collects_once_per_visit(pick: Pick) -> None:
    graph = graph_of("w-j e-END START-h", nodes="h w j e")
    graph.add_conditional_edge("h", lambda state: [Send("w", {"n": n}) for n in range(2)], ["w"])
    graph.add_conditional_edge("j", lambda state: "h" if visits(state, "j") < 3 else "e", ["h", "e"])
    assert trail(graph, pick) == "h w w j h w w j h w w j e"


def test_the_items_of_a_fan_out_may_each_lead_back(pick: Pick) -> None:
    graph = graph_of("START-h e-END", nodes="h w e")
    graph.add_conditional_edge(
        "h", lambda state: [Send("w", {"n": n}) for n in range(2)] if visits(state, "h") < 3 else "e", ["w", "e"]
    )
    graph.add_edge("w", "h")
    walk = walked(graph, pick)
    assert len(walk.finished) == len(set(walk.finished))
    assert visits(State(walk.result), "w") == len([i for i in walk.finished if i.startswith("w")])


def test_each_item_may_run_a_subgraph_of_its_own(pick: Pick) -> None:
    inner = Graph("inner", state={"got": operator.add})
    inner.add_node("x", lambda state: {"y": state["item"] * 10}).add_node("z", lambda state: {"got": [state["y"]]})
    inner.set_entry_point("x").add_edge("x", "z").set_finish_point("z")
    graph = Graph("g", state={"trail": operator.add, "got": operator.add, "y": max})
    graph.add_node("plan", mark("plan")).add_node("w", inner).add_node("sum", mark("sum")).set_entry_point("plan")
    graph.add_conditional_edge("plan", lambda s: [Send("w", {"item": i}) for i in (3, 1, 2)], ["w"])
    graph.add_edge("w", "sum").set_finish_point("sum")
    walk = walked(graph, pick)
    assert walk.result["got"] == [30, 10, 20]
    assert "w[plan:1]/x" in walk.finished and walk.finished[-1] == "sum"


def test_a_fan_out_of_subgraphs_that_are_all_skipped_still_goes_on(pick: Pick) -> None:
    graph = graph_of("START-p", nodes="p z").add_node("w", graph_of("x-END", name="inner"))
    graph.add_conditional_edge("p", lambda state: [], ["w"]).add_edge("w", "z").set_finish_point("z")
    assert walked(graph, pick).finished == ["p", "z"]


# -- Command -----------------------------------------------------------------------------------------------------------


def test_a_command_updates_and_goes_in_one(pick: Pick) -> None:
    graph = graph_of("b-END c-END START-a", nodes="b c")
    graph.add_node("a", lambda state: Command({"trail": ["a"]}, goto="c"), destinations=["b", "c"])
    assert trail(graph, pick) == "a c"


def test_a_command_may_send_and_go_to_several_places(pick: Pick) -> None:
    graph = graph_of("b-d c-d d-END START-a", nodes="b c d")
    graph.add_node("a", lambda s: Command({"trail": ["a"]}, goto=["b", Send("c", {"x": 1}), Send("c")]),
                   destinations=["b", "c"])  # fmt: skip
    assert trail(graph, pick) == "a b c c d"


def test_a_command_may_lead_back(pick: Pick) -> None:
    def decide(state: State) -> Command[Any]:
        return Command({"trail": ["d"]}, goto="a" if visits(state, "d") < 2 else END)

    graph = graph_of("a-d START-a", nodes="a").add_node("d", decide, destinations=["a", END])
    assert trail(graph, pick) == "a d a d a d"


def test_a_command_may_go_to_the_end(pick: Pick) -> None:
    graph = graph_of("START-a b-END", nodes="b").add_node("a", lambda s: Command(goto=END), destinations=["b", END])
    assert walked(graph, pick).finished == ["a"]


# -- other joins -------------------------------------------------------------------------------------------------------


def racing() -> Graph:
    graph = graph_of("a-b a-c b-d c-d d-END", nodes="a b c")
    return graph.add_node("d", mark("d"), join="any")


def test_join_any_starts_at_the_first_and_ignores_the_others() -> None:
    walk = Walk(racing())
    walk.step("a")
    assert walk.step("c") == ["d"]
    assert walk.step("b") == []
    walk.run()
    assert walk.finished == ["a", "c", "b", "d"]
    assert walk.result["trail"] == ["a", "c", "d"]


def test_join_any_in_a_loop_races_anew_in_each_visit() -> None:
    graph = racing()
    graph.edges.remove((("d",), END))
    graph.add_conditional_edge("d", lambda state: "a" if visits(state, "d") < 3 else END, ["a", END])
    assert sum(name.startswith("d") for name in walked(graph).finished) == 3


def test_a_list_of_sources_waits_for_all_of_them(pick: Pick) -> None:
    assert trail(graph_of("a-b a-c b,c=d d-END", nodes="a b c d"), pick) == "a b c d"


def test_a_run_that_goes_quiet_with_a_join_still_waiting_names_what_it_waits_for(pick: Pick) -> None:
    graph = graph_of("a-b a-x b,c=d d-END c-END START-a", nodes="a b c x d")
    graph.add_conditional_edge("x", lambda state: END, ["c", END])
    walk = walked(graph, pick)
    assert walk.position.stuck == "'d' waits for 'c'"
    assert walk.position.result is None
    assert "d" not in walk.finished


def test_a_list_of_sources_in_a_loop_waits_anew_in_each_visit(pick: Pick) -> None:
    graph = graph_of("h-l h-r l,r=j e-END START-h", nodes="h l r j e")
    graph.add_conditional_edge("j", lambda state: "h" if visits(state, "j") < 2 else "e", ["h", "e"])
    assert trail(graph, pick) == "h l r j h l r j e"


# -- subgraphs ---------------------------------------------------------------------------------------------------------


class Inner(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    secret: str


class Outer(TypedDict, total=False):
    notes: Annotated[list[str], operator.add]
    title: str


def nested() -> Graph:
    seen: dict[str, Any] = {}

    def look(state: State) -> dict[str, Any]:
        seen.update(state)
        return {"notes": ["inner"], "secret": "s"}

    inner = Graph("inner", state=Inner).add_node("look", look).add_node("more", lambda s: {"notes": [s["secret"]]})
    inner.set_entry_point("look").add_edge("look", "more").set_finish_point("more")
    outer = Graph("outer", state=Outer).add_node("a", lambda s: {"notes": ["a"], "title": "t"}).add_node("sub", inner)
    outer.add_node("z", lambda s: {"notes": ["z"]}).set_entry_point("a").add_edge("a", "sub").add_edge("sub", "z")
    outer.seen = seen  # type: ignore[attr-defined]
    return outer.set_finish_point("z")


def test_a_subgraph_sees_and_returns_only_the_keys_that_both_declare(pick: Pick) -> None:
    graph = nested()
    walk = walked(graph, pick)
    assert graph.seen == {"notes": ["a"]}  # type: ignore[attr-defined]
    assert walk.result == {"notes": ["a", "inner", "s", "z"], "title": "t"}
    assert walk.finished == ["a", "sub/look", "sub/more", "z"]


def test_subgraphs_in_parallel_branches_merge_like_nodes(pick: Pick) -> None:
    graph = graph_of("START-a", nodes="a z")
    for name in ("s1", "s2"):
        graph.add_node(name, graph_of("x-y y-END", name=f"inner-{name}"))
        graph.add_edge("a", name).add_edge(name, "z")
    assert trail(graph.set_finish_point("z"), pick) == "a x y x y z"


def test_a_subgraph_may_fork_loop_and_nest(pick: Pick) -> None:
    inmost = graph_of("p-q p-r q-s r-s s-END", name="inmost")
    inner = graph_of("START-a", nodes="a", name="inner").add_node("deep", inmost).add_edge("a", "deep")
    inner.add_conditional_edge("deep", lambda state: "a" if visits(state, "a") < 2 else END, ["a", END])
    graph = graph_of("START-o z-END", nodes="o z").add_node("sub", inner).add_edge("o", "sub").add_edge("sub", "z")
    walk = walked(graph, pick)
    assert " ".join(walk.result["trail"]) == "o a p q r s a p q r s z"
    assert "sub/deep#2/q" in walk.finished


def test_the_condition_behind_a_subgraph_sees_what_it_came_to(pick: Pick) -> None:
    graph = graph_of("START-a y-END n-END", nodes="a y n").add_node("sub", graph_of("x-END", name="inner"))
    graph.add_edge("a", "sub").add_conditional_edge("sub", lambda s: "y" if "x" in s["trail"] else "n", ["y", "n"])
    walk = walked(graph, pick)
    assert walk.result["trail"] == ["a", "x", "y"]


def test_a_subgraph_in_a_loop_runs_once_per_visit(pick: Pick) -> None:
    graph = graph_of("START-a", nodes="a").add_node("sub", graph_of("x-y y-END", name="inner")).add_edge("a", "sub")
    graph.add_conditional_edge("sub", lambda state: "a" if visits(state, "a") < 3 else END, ["a", END])
    assert trail(graph, pick) == "a x y a x y a x y"


def test_a_subgraph_whose_own_join_goes_quiet_names_it_with_its_path(pick: Pick) -> None:
    inner = graph_of("a-b a-x b,c=d d-END c-END START-a", nodes="a b c x d", name="inner")
    inner.add_conditional_edge("x", lambda state: END, ["c", END])
    graph = graph_of("START-o z-END", nodes="o z").add_node("sub", inner).add_edge("o", "sub").add_edge("sub", "z")
    walk = walked(graph, pick)
    assert walk.position.stuck == "'sub/d' waits for 'c'"


# -- merging -----------------------------------------------------------------------------------------------------------


def writing(**updates: dict[str, Any]) -> Graph:
    graph = Graph("g", state={"trail": operator.add, "best": max})
    for name, update in updates.items():
        graph.add_node(name, lambda state, update=update: update)
    return graph


def test_two_branches_that_write_one_key_without_a_reducer_are_an_error_that_names_both(pick: Pick) -> None:
    graph = writing(a={}, b={"title": 1}, c={"title": 2}, d={})
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge("b", "d").add_edge("c", "d")
    with pytest.raises(MergeConflict, match="'title' was written by both 'b' and 'c', which meet at 'd'"):
        walked(graph.set_finish_point("d"), pick)


def test_branches_that_meet_only_at_the_end_conflict_there(pick: Pick) -> None:
    graph = writing(b={"title": 1}, c={"title": 2})
    graph.add_edge(START, "b").add_edge(START, "c").set_finish_point("b").set_finish_point("c")
    with pytest.raises(MergeConflict, match="'END'"):
        walked(graph, pick)


def test_writing_one_key_in_turn_is_no_conflict(pick: Pick) -> None:
    graph = writing(a={"title": 0}, b={"title": 1}, c={"other": 2}, d={"title": 3})
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge("b", "d").add_edge("c", "d")
    assert walked(graph.set_finish_point("d"), pick).result == {"title": 3, "other": 2}
    graph = writing(a={"title": 0}, b={"title": 1}, c={"other": 2}, d={})
    graph.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge("b", "d").add_edge("c", "d")
    assert walked(graph.set_finish_point("d"), pick).result == {"title": 1, "other": 2}


def test_items_of_a_fan_out_that_write_one_key_without_a_reducer_conflict(pick: Pick) -> None:
    graph = Graph("g").add_node("w", lambda item: {"x": item})
    graph.set_conditional_entry_point(lambda state: [Send("w", 1), Send("w", 2)], ["w"]).set_finish_point("w")
    with pytest.raises(MergeConflict, match=r"w\[__start__:0\]"):
        walked(graph, pick)


def test_any_reducer_is_applied_in_path_order(pick: Pick) -> None:
    def show(so_far: str, new: str) -> str:
        return f"({so_far}{new})"

    graph = Graph("g", state={"text": show})
    for name in "abcd":
        graph.add_node(name, lambda state, name=name: {"text": name})
    graph.add_edge(START, "a").add_edge("a", "c").add_edge("a", "b").add_edge("b", "d").add_edge("c", "d")
    assert walked(graph.set_finish_point("d"), pick, text="").result == {"text": "((((a)b)c)d)"}


# -- changes from outside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", range(5))
def test_a_change_from_outside_reaches_the_result_once_whenever_it_comes(moment: int, pick: Pick) -> None:
    graph = graph_of("a-b a-c b-d c-d d-END", state={"trail": operator.add})
    walk = Walk(graph, pick=pick)
    for _ in range(moment):
        walk.step()
    walk.position.external("@9", {"trail": ["out"], "title": "new"})
    walk.run()
    assert sorted(walk.result["trail"]) == sorted(["a", "b", "c", "d", "out"])
    assert walk.result["title"] == "new"


def test_a_change_from_outside_is_seen_by_what_has_not_started() -> None:
    seen = []
    graph = graph_of("a-b", nodes="a").add_node("b", lambda state: seen.append(state["title"]))
    walk = Walk(graph.set_finish_point("b"), {"title": "old"})
    walk.position.external("@2", {"title": "new"})
    walk.run()
    assert seen == ["new"]


@pytest.mark.parametrize("moment", range(4))
def test_a_change_from_outside_during_a_subgraph_is_applied_once(moment: int, pick: Pick) -> None:
    walk = Walk(nested(), pick=pick)
    for _ in range(moment):
        walk.step()
    walk.position.external("@9", {"notes": ["out"], "title": "new"})
    walk.run()
    assert sorted(walk.result["notes"]) == ["a", "inner", "out", "s", "z"]
    if moment:
        assert walk.result["title"] == "new"


def test_the_state_now_shows_what_has_finished_in_every_branch() -> None:
    walk = Walk(graph_of("a-b a-c b-d c-d d-END"))
    assert walk.position.values() == {}
    walk.step("a")
    walk.step("c")
    assert walk.position.values() == {"trail": ["a", "c"]}
    walk.step("b")
    assert walk.position.values() == {"trail": ["a", "b", "c"]}
    walk.run()
    assert walk.position.values() == walk.result


def test_the_state_now_looks_into_subgraphs() -> None:
    walk = Walk(nested())
    walk.step("a")
    walk.step("sub/look")
    assert walk.position.values() == {"notes": ["a", "inner"], "title": "t"}
