"""Random graphs, finished in any order: the same activations, the same state, and the log rebuilds every moment."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain import codec
from treadle.domain.events import Event, StateUpdated
from treadle.graph.fold import rebuild
from treadle.graph.plan import Position
from treadle.testing.random_graphs import Block, build, predict, random_block
from treadle.testing.walk import Walk, first, last

LARGEST = 40


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Block, int]:
    random = draw(st.randoms(use_true_random=False))
    return random_block(random, draw(st.integers(1, LARGEST))), draw(st.integers(0, 1000))


def names(result: dict[str, Any]) -> Counter[str]:
    return Counter(result.get("trail", ()))


@settings(max_examples=300, deadline=None)
@given(blocks(), st.randoms(use_true_random=False))
def test_any_order_of_completion_gives_the_same_activations_and_the_same_state(
    made: tuple[Block, int], order: Random
) -> None:
    block, seed = made
    graph = build(block, seed=seed).compile()
    walks = [Walk(graph, pick=pick).run() for pick in (first, last, lambda ready: order.randrange(len(ready)))]
    results = [walk.result for walk in walks]
    assert results[0] == results[1] == results[2]
    assert set(walks[0].finished) == set(walks[1].finished) == set(walks[2].finished)


@settings(max_examples=300, deadline=None)
@given(blocks(), st.randoms(use_true_random=False))
def test_every_node_runs_as_often_as_it_should_and_every_change_counts_once(
    made: tuple[Block, int], order: Random
) -> None:
    block, seed = made
    walk = Walk(build(block, seed=seed).compile(), pick=lambda ready: order.randrange(len(ready))).run()
    expected = predict(block, seed=seed)
    assert names(walk.result) == expected
    assert walk.result["count"] == expected.total()


@settings(max_examples=200, deadline=None)
@given(blocks(), st.randoms(use_true_random=False))
def test_no_activation_is_named_twice_and_the_run_always_ends(made: tuple[Block, int], order: Random) -> None:
    block, seed = made
    walk = Walk(build(block, seed=seed).compile(), pick=lambda ready: order.randrange(len(ready))).run()
    assert len(walk.finished) == len(set(walk.finished))
    assert not walk.position.index
    assert walk.position.stuck is None and walk.position.result is not None


def moment(position: Position) -> dict[str, Any]:
    return {id: live.state() for id, live in position.index.items() if live.child is None}


@settings(max_examples=100, deadline=None)
@given(blocks(), st.randoms(use_true_random=False))
def test_the_log_rebuilds_the_position_at_every_event(made: tuple[Block, int], order: Random) -> None:
    block, seed = made
    graph = build(block, seed=seed).compile()
    walk = Walk(graph, pick=lambda ready: order.randrange(len(ready)))
    moments = [moment(walk.position)]
    values = [walk.position.values()]
    while walk.ready and len(walk.events) < 60:
        if order.random() < 0.1:
            change(walk, {"trail": [f"@{len(walk.events)}"], "title": len(walk.events)})
        else:
            walk.step()
        moments.append(moment(walk.position))
        values.append(walk.position.values())
    for number in range(1, len(walk.events) + 1):
        rebuilt = rebuild(graph, walk.events[:number])
        assert moment(rebuilt) == moments[number - 1]
        assert rebuilt.values() == values[number - 1]
        assert rebuilt.result == (walk.position.result if number == len(walk.events) else None)


def change(walk: Walk, update: dict[str, Any]) -> None:
    """A change from outside, as the engine applies and logs it."""
    seq = len(walk.events) + 1
    walk.position.external(f"@{seq}", update)
    payload = StateUpdated(msgspec.Raw(codec.encode(update)))
    walk.events.append(Event(seq, float(seq), "walk", None, "StateUpdated", 1, "default", "default", payload))


@settings(max_examples=100, deadline=None)
@given(blocks(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_a_change_from_outside_counts_once_in_the_result(made: tuple[Block, int], order: Random, when: int) -> None:
    block, seed = made
    walk = Walk(build(block, seed=seed).compile(), pick=lambda ready: order.randrange(len(ready)))
    while walk.ready and len(walk.events) <= when:
        walk.step()
    change(walk, {"count": 1000, "title": "new"})
    walk.run()
    assert walk.result["count"] // 1000 == 1
    assert walk.result["title"] == "new"
