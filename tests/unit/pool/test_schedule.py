"""What the schedule decides in situations that can be told in a sentence."""

from __future__ import annotations

import time

import pytest
from views import device, facts, line, view

from treadle.errors import UnknownName
from treadle.pool import schedule
from treadle.pool.policy import POLICIES, policy_of
from treadle.pool.schedule import decide
from treadle.pool.state import Action, Evict, Hold, Load, Resident, Soon, Start, View

FAIR, THROUGHPUT, FIFO, OLLAMA = (policy_of(name) for name in ("fair", "throughput", "fifo-lru", "ollama"))
BIG, MID, SMALL = facts("big", 9), facts("mid", 4.7), facts("small", 2)


def deeds(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, Hold)]


def held(actions: list[Action]) -> dict[str, str]:
    return {action.model: action.reason for action in actions if isinstance(action, Hold)}


def on_one(now: float, residents: list[Resident | str], lines: list, *, alone: bool = True, **more: object) -> View:  # type: ignore[type-arg]
    slots = 1 if alone else None
    one = device(10, *residents, loads_alone=alone, slots=slots, **more)
    return view(now, [one], [BIG, MID, SMALL], lines)


def test_loaded_models_are_served_first() -> None:
    actions = decide(on_one(5, ["small"], [line("big", 9), line("small", at=4)]), FAIR)
    assert deeds(actions) == [Start("small", "gpu0", 1, False)]
    assert held(actions)["big"] == schedule.LOADED_FIRST


def test_with_nothing_loaded_the_most_work_per_load_cost_is_loaded() -> None:
    assert deeds(decide(on_one(1, [], [line("big", 2), line("mid", 2)]), FAIR)) == [Load("mid", "gpu0")]
    assert deeds(decide(on_one(1, [], [line("big", 9), line("mid", 2)]), FAIR)) == [Load("big", "gpu0")]


def test_a_model_for_which_nobody_waits_leaves() -> None:
    actions = decide(on_one(1, ["mid", "small"], [line("big")]), FAIR)
    assert deeds(actions) == [Evict("mid", "gpu0"), Evict("small", "gpu0"), Load("big", "gpu0")]


def test_only_as_many_leave_as_must() -> None:
    known = [facts("a", 4), facts("b", 4), facts("c", 2), facts("d", 3)]
    actions = decide(view(0, [device(10, "a", "b", "c")], known, [line("d")]), FAIR)
    assert deeds(actions) == [Evict("a", "gpu0"), Load("d", "gpu0")]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_a_model_in_use_is_never_evicted(policy: object) -> None:
    for alone in (True, False):
        actions = decide(on_one(9999, [Resident("mid", running=1)], [line("big")], alone=alone), policy)  # type: ignore[arg-type]
        assert deeds(actions) == []
        assert held(actions)["big"]


def test_fair_changes_when_one_waited_too_long_and_the_loaded_had_their_time() -> None:
    lines = [line("big", at=0), line("small", 3, at=95)]
    assert deeds(decide(on_one(100, ["small"], lines, swapped_at=0.0), FAIR))[-1] == Load("big", "gpu0")
    assert deeds(decide(on_one(100, ["small"], lines, swapped_at=50.0), FAIR)) == [Start("small", "gpu0", 1, False)]
    younger = [line("big", at=0), line("small", 3, at=50)]
    assert deeds(decide(on_one(100, ["small"], younger, swapped_at=0.0), FAIR)) == [Start("small", "gpu0", 1, False)]


def test_throughput_never_takes_from_a_model_with_work() -> None:
    lines = [line("big", at=0), line("small", 3, at=9000)]
    assert deeds(decide(on_one(9001, ["small"], lines), THROUGHPUT)) == [Start("small", "gpu0", 1, False)]


def test_a_due_model_waits_until_the_running_ones_are_done_and_no_more_are_started() -> None:
    lines = [line("big", at=0), line("small", 3, at=95)]
    actions = decide(on_one(100, [Resident("small", running=1)], lines, alone=False, swapped_at=0.0), FAIR)
    assert deeds(actions) == []
    assert held(actions) == {"small": schedule.GIVES_WAY, "big": schedule.IN_USE}


def test_somebody_who_sits_there_comes_first_at_the_next_task_boundary() -> None:
    mine = line("big", at=99, interactive=True)
    assert deeds(decide(on_one(100, ["small"], [line("small", 9), mine]), FAIR))[-1] == Load("big", "gpu0")
    assert deeds(decide(on_one(100, [Resident("small", running=1)], [line("small", 9), mine]), FAIR)) == []
    both = [line("small", 9), line("small", at=99, interactive=True)]
    assert deeds(decide(on_one(100, ["small"], both), FAIR)) == [Start("small", "gpu0", 1, True)]


def test_a_request_that_waited_long_is_not_starved_by_those_who_sit_there() -> None:
    lines = [line("big", at=0), line("small", at=390, interactive=True)]
    assert deeds(decide(on_one(400, ["small"], lines, swapped_at=0.0), FAIR))[-1] == Load("big", "gpu0")
    lines = [line("big", at=350), line("small", at=390, interactive=True)]
    assert deeds(decide(on_one(400, ["small"], lines, swapped_at=0.0), FAIR)) == [Start("small", "gpu0", 1, True)]


def test_models_answer_as_many_at_once_as_they_have_slots() -> None:
    known = [facts("a", 1, slots=4), facts("b", 1, slots=2)]
    held_here = device(4, Resident("a", running=1), "b", slots=4)
    actions = decide(view(0, [held_here], known, [line("a", 9, number=1), line("b", 9, number=2)]), FAIR)
    assert deeds(actions) == [Start("a", "gpu0", 3, False)]
    free = device(4, Resident("a", running=1), "b")
    actions = decide(view(0, [free], known, [line("a", 9), line("b", 9)]), FAIR)
    assert deeds(actions) == [Start("a", "gpu0", 3, False), Start("b", "gpu0", 2, False)]


def test_a_second_model_is_loaded_beside_a_working_one_when_it_fits() -> None:
    busy = on_one(1, [Resident("mid", running=1)], [line("mid", 5), line("small")], alone=False)
    assert deeds(decide(busy, FAIR)) == [Load("small", "gpu0")]


def test_one_model_is_loaded_at_a_time() -> None:
    loading = on_one(1, [Resident("mid", loading=True)], [line("mid"), line("small")], alone=False, changing=True)
    actions = decide(loading, FAIR)
    assert deeds(actions) == []
    assert held(actions) == {"mid": schedule.IS_LOADING, "small": schedule.IS_CHANGING}


def test_a_pinned_model_is_loaded_unasked_and_its_room_is_given_to_nobody() -> None:
    known = [facts("orchestrator", 3, pinned=True), facts("coder", 7), facts("huge", 8)]
    assert deeds(decide(view(0, [device(10)], known, [line("coder")]), FAIR)) == [
        Load("orchestrator", "gpu0", ahead=True)
    ]
    full = view(0, [device(10, "orchestrator", "coder")], known, [line("huge")])
    actions = decide(full, FAIR)
    assert deeds(actions) == [] and held(actions) == {"huge": schedule.NEVER_FITS}


def test_what_the_graph_expects_is_loaded_ahead_into_free_memory() -> None:
    known = [BIG, MID, SMALL]
    idle = [device(10, "small")]
    assert deeds(decide(view(0, idle, known, [], (Soon("mid", 1, 3.0),)), FAIR)) == [Load("mid", "gpu0", ahead=True)]
    later = (Soon("mid", 1, 500.0),)
    assert deeds(decide(view(0, idle, known, [], later), FAIR)) == []


def test_what_is_wanted_sooner_does_not_leave_for_what_is_wanted_later() -> None:
    soon = (Soon("mid", 1, 3.0), Soon("big", 1, 9.0))
    assert deeds(decide(view(0, [device(10, "mid")], [BIG, MID, SMALL], [], soon), FAIR)) == []


def test_of_idle_models_the_one_wanted_last_leaves() -> None:
    known = [facts("a", 4), facts("b", 4), facts("c", 4)]
    expected = (Soon("a", 1, 5.0), Soon("b", 1, 200.0))
    actions = decide(view(0, [device(8, "a", "b")], known, [line("c")], expected), FAIR)
    assert deeds(actions) == [Evict("b", "gpu0"), Load("c", "gpu0")]


def test_with_two_devices_the_free_one_takes_the_next_model() -> None:
    known = [facts("a", 7, devices=("gpu0", "gpu1")), facts("b", 7, devices=("gpu0", "gpu1"))]
    two = [device(8, Resident("a", running=1)), device(8, name="gpu1")]
    assert deeds(decide(view(0, two, known, [line("a"), line("b")]), FAIR)) == [Load("b", "gpu1")]


def test_a_model_larger_than_every_device_is_held_and_blocks_nobody() -> None:
    known = [facts("huge", 99), SMALL]
    actions = decide(view(0, [device(10)], known, [line("huge", 50), line("small")]), FAIR)
    assert deeds(actions) == [Load("small", "gpu0")]
    assert held(actions) == {"huge": schedule.NEVER_FITS}


def test_fifo_holds_everything_behind_the_oldest_and_evicts_the_least_recently_used() -> None:
    mid, small = Resident("mid", used_at=5), Resident("small", used_at=9)
    actions = decide(on_one(10, [mid, small], [line("big", at=1), line("small", at=2)]), FIFO)
    assert deeds(actions) == [Evict("mid", "gpu0"), Evict("small", "gpu0"), Load("big", "gpu0")]
    actions = decide(on_one(10, [mid, small], [line("mid", at=1), line("small", at=2)], alone=False), FIFO)
    assert deeds(actions) == [Start("mid", "gpu0", 1, False)]


def test_ollama_lets_loaded_models_pass_the_head_and_evicts_the_shortest_kept() -> None:
    actions = decide(on_one(10, ["small"], [line("big", at=1), line("small", at=2)]), OLLAMA)
    assert deeds(actions) == [Start("small", "gpu0", 1, False)]
    known = [facts("a", 4, keep_s=60.0), facts("b", 4, keep_s=300.0), facts("c", 4)]
    actions = decide(view(10, [device(8, "a", "b")], known, [line("c")]), OLLAMA)
    assert deeds(actions) == [Evict("a", "gpu0"), Load("c", "gpu0")]


def test_a_decision_looks_at_models_not_at_requests() -> None:
    known = [facts(f"m{n}", 1 + n % 5) for n in range(20)]
    lines = [line(f"m{n}", 500, at=float(n)) for n in range(20)]
    crowded = view(9999, [device(12, "m0", "m1", "m2", "m3")], known, lines)
    took = []
    for _ in range(20):
        began = time.perf_counter()
        decide(crowded, FAIR)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.02  # ten times the aim, for busy machines; `bench/pool.py` measures


def test_an_unknown_policy_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no policy 'fare'"):
        policy_of("fare")
