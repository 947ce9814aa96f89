"""The policies against what nobody can beat, and against the figures that they are held to."""

from __future__ import annotations

import statistics

import pytest
from bench.pool import AIMS, LOADS, NEAR, reference, small_instances
from bench.pool_bounds import lower_bound, optimum

from treadle.pool.policy import policy_of
from treadle.pool.simulate import simulate
from treadle.pool.workload import Asked, Sized, Workload

GB = 1_000_000_000


def test_the_optimum_of_an_instance_that_can_be_solved_by_hand() -> None:
    models = {"a": Sized(6 * GB, 10.0), "b": Sized(6 * GB, 10.0)}
    asked = (Asked(0, "a", 5), Asked(12, "b", 5), Asked(16, "a", 5))
    # Load a, serve, wait for the last a, serve it, load b, serve; or load b in between: 10+5+10+5+10+5.
    assert optimum(Workload(10 * GB, models, asked)) == 16 + 5 + 10 + 5


def test_no_policy_beats_the_optimum_and_the_optimum_beats_no_bound() -> None:
    for workload in small_instances(25, spread_s=30.0):
        best = optimum(workload)
        assert lower_bound(workload) <= best + 1e-9
        for name in ("fair", "fifo-lru"):
            assert simulate(workload, policy_of(name), lookahead_s=60.0).makespan_s >= best - 1e-9


@pytest.mark.parametrize("name", ["throughput", "fair"])
def test_small_instances_end_within_a_tenth_of_the_optimum(name: str) -> None:
    for workload in small_instances(60, spread_s=0.0):
        assert simulate(workload, policy_of(name)).makespan_s <= NEAR * optimum(workload)


@pytest.mark.parametrize(("name", "load"), AIMS)
def test_the_reference_workload_meets_its_aims(name: str, load: str) -> None:
    swaps, longest = AIMS[name, load]
    workloads = [reference(seed, LOADS[load]) for seed in range(30)]
    results = [simulate(workload, policy_of(name)) for workload in workloads]
    assert statistics.fmean(result.swaps for result in results) <= swaps
    bounds = statistics.fmean(map(lower_bound, workloads))
    assert statistics.fmean(result.makespan_s for result in results) <= NEAR * bounds
    if longest is not None:
        assert statistics.fmean(result.wait_max_s for result in results) <= longest
