"""Whatever is asked: never above capacity, never a model evicted in use; all ends, and under `fair` nobody starves."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from views import GB
from world import World

from treadle.pool.policy import POLICIES, policy_of
from treadle.pool.state import Device, Facts

NAMES = ["a", "b", "c", "d", "e"]
QUIET = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def worlds(draw: st.DrawFn, policy: str) -> World:
    alone = draw(st.booleans())
    count = draw(st.integers(1, 3))
    names = [f"gpu{n}" for n in range(count)]
    slots = st.one_of(st.none(), st.integers(1, 4))
    devices = [Device(n, draw(st.integers(4, 12)) * GB, slots=draw(slots), loads_alone=alone) for n in names]
    smallest = min(device.bytes for device in devices) // GB
    pinned = draw(st.sampled_from([None, *NAMES]))
    known = []
    for name in NAMES:
        size = 1 if name == pinned else draw(st.integers(1, smallest - 1))
        where = tuple(draw(st.permutations(names))[: draw(st.integers(1, count))])
        known.append(
            Facts(name, size * GB, draw(st.floats(0, 20)), where, slots=draw(st.integers(1, 3)), pinned=name == pinned)
        )
    world = World(devices, known, policy_of(policy))
    for _ in range(draw(st.integers(0, 40))):
        world.ask(
            draw(st.floats(0, 300)), draw(st.sampled_from(NAMES)), draw(st.floats(0, 60)),
            interactive=draw(st.booleans()) and draw(st.booleans()),
        )  # fmt: skip
    return world


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_is_served_within_memory_and_slots(policy: str) -> None:
    @QUIET
    @given(worlds(policy))
    def check(world: World) -> None:
        asked = len(world.agenda)
        world.play()
        assert sum(map(len, world.waits.values())) == asked and len(world.queues) == 0

    check()


@settings(max_examples=60, deadline=None)
@given(
    alone=st.booleans(),
    slots=st.integers(1, 3),
    seconds=st.floats(1, 30),
    load=st.floats(0, 15),
    crowd=st.integers(1, 4),
)
def test_under_fair_a_stream_of_work_for_a_loaded_model_starves_nobody(
    alone: bool, slots: int, seconds: float, load: float, crowd: int
) -> None:
    known = [Facts(n, 8 * GB, load, ("gpu0",), slots=slots) for n in ("busy", "rare")]
    world = World([Device("gpu0", 10 * GB, loads_alone=alone)], known, policy_of("fair"))
    for n in range(150):
        for _ in range(crowd):
            world.ask(n * seconds / slots, "busy", seconds)
    world.ask(seconds, "rare", 1.0)
    world.play()
    policy = policy_of("fair")
    # What was there first or soon after goes first; then the patience, the quantum with both loads, and what runs.
    ahead = crowd * (1 + policy.patience_s * slots / seconds) * seconds / slots + crowd * seconds
    bound = ahead + policy.patience_s + policy.quantum_loads * 2 * load + 2 * load + 2 * seconds
    assert world.waits["rare"][0] <= bound


def test_under_throughput_it_may_starve_and_the_pages_say_so() -> None:
    known = [Facts(n, 8 * GB, 1.0, ("gpu0",)) for n in ("busy", "rare")]
    world = World([Device("gpu0", 10 * GB, loads_alone=True)], known, policy_of("throughput"))
    for n in range(200):
        world.ask(n * 5.0, "busy", 5.0)
    world.ask(6.0, "rare", 1.0)
    world.play()
    assert world.waits["rare"][0] > 900
