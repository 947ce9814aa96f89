"""Workloads: what is read, what is refused, and what comes out."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from treadle.cli.main import run
from treadle.errors import UsageError
from treadle.pool.policy import POLICIES, policy_of
from treadle.pool.simulate import simulate
from treadle.pool.workload import parse

TWO = {"a": {"size_gb": 6, "load_s": 10}, "b": {"size_gb": 6, "load_s": 10}}


def asked(*requests: tuple[float, str, float], models: dict[str, Any] = TWO, capacity: float = 10) -> dict[str, Any]:
    told = [{"at_s": at, "model": model, "duration_s": seconds} for at, model, seconds in requests]
    return {"capacity_gb": capacity, "models": models, "requests": told}


def test_figures_of_a_workload_that_can_be_played_by_hand() -> None:
    workload = parse(asked((0, "a", 5), (0, "b", 5), (0, "a", 5)))
    fair = simulate(workload, policy_of("fair")).to_dict()
    assert fair == {
        "policy": "fair", "swaps": 2, "makespan_s": 35.0, "wait_mean_s": 55 / 3, "wait_p95_s": 30.0, "wait_max_s": 30.0,
    }  # fmt: skip
    fifo = simulate(workload, policy_of("fifo-lru"))
    assert (fifo.swaps, fifo.makespan_s, fifo.wait_max_s) == (3, 45.0, 40.0)


def test_requests_may_stand_in_any_order_and_idle_time_counts() -> None:
    result = simulate(parse(asked((100, "a", 5), (0, "a", 5))), policy_of("fair"))
    assert (result.swaps, result.makespan_s, result.wait_max_s) == (1, 105.0, 10.0)


def test_what_is_known_ahead_is_loaded_while_the_device_is_idle() -> None:
    workload = parse(asked((0, "a", 5), (40, "b", 5)))
    assert simulate(workload, policy_of("fair")).wait_max_s == 10.0
    told = simulate(workload, policy_of("fair"), lookahead_s=60)
    assert (told.swaps, told.makespan_s) == (2, 45.0)


def test_nothing_asked_takes_no_time() -> None:
    assert simulate(parse(asked()), policy_of("fair")).makespan_s == 0.0


def test_the_default_swaps_a_quarter_as_often_as_order_of_arrival() -> None:
    rng = random.Random(7)
    models = {f"m{n}": {"size_gb": 4, "load_s": 5} for n in range(5)}
    workload = parse(asked(*((rng.uniform(0, 900), f"m{rng.randrange(5)}", 6.0) for _ in range(200)), models=models))
    results = {name: simulate(workload, policy) for name, policy in POLICIES.items()}
    assert results["fair"].swaps * 4 <= results["fifo-lru"].swaps
    assert results["fair"].makespan_s <= results["fifo-lru"].makespan_s
    assert results["throughput"].swaps <= results["fair"].swaps


BAD: list[tuple[Any, str]] = [
    ([], "the workload is []"),
    ({"capacity_gb": 10, "models": TWO}, "has no requests"),
    ({**asked(), "capacityGB": 3}, "no key in the workload 'capacityGB'"),
    (asked(capacity=0), "capacity_gb is 0"),
    (asked(capacity=-1), "capacity_gb is -1"),
    (asked(capacity=float("nan")), "capacity_gb is NaN"),
    (asked(capacity="10"), "not a number"),  # type: ignore[arg-type]
    (asked(models={}), "at least one model"),
    (asked(models={"a": 3}), "models.a is 3"),
    (asked(models={"a": {"size_gb": 11, "load_s": 1}}), "'a' needs 11 GB, and capacity_gb is 10"),
    (asked(models={"a": {"size_gb": 1, "load_s": -1}}), "models.a.load_s is -1"),
    (asked(models={"a": {"size_gb": True, "load_s": 1}}), "not a number"),
    (asked((0, "aa", 1)), "no model 'aa'"),
    (asked((-1, "a", 1)), "requests[0].at_s is -1"),
    (asked((0, "a", float("inf"))), "requests[0].duration_s is Infinity"),
    ({**asked(), "requests": {}}, "requests is not a list"),
    ({**asked(), "requests": [{"at_s": 0, "model": 3, "duration_s": 1}]}, "requests[0].model is 3"),
    ({**asked(), "requests": [{"at_s": 0, "model": "a"}]}, "requests[0] has no duration_s"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message for _, message in BAD])
def test_a_mistake_is_told_where_it_stands(data: Any, message: str, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(UsageError) as told:
        parse(data)
    assert message in str(told.value) and told.value.hint
    path = tmp_path / "w.json"
    path.write_text(json.dumps(data))
    assert run(["pool", "simulate", str(path)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and message in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("", "is not JSON"),
        ('{"models": {"a": 1, "a": 2}}', "'a' twice"),
        ("[" * 100_000, "nested too deeply"),
        (None, "cannot be read"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_workload_is_refused(
    text: str | bytes | None, message: str, tmp_path: Path, capfd: Any
) -> None:
    path = tmp_path / "w.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert run(["pool", "simulate", str(path)]) == 2
    assert message in capfd.readouterr().err


def test_the_command_prints_figures_for_people_and_programs(tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "w.json"
    path.write_text(json.dumps(asked((0, "a", 5), (0, "b", 5), (0, "a", 5))))
    assert run(["pool", "simulate", str(path), "--policy", "throughput", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert set(told) == {"policy", "swaps", "makespan_s", "wait_mean_s", "wait_p95_s", "wait_max_s"}
    assert run(["pool", "simulate", str(path), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["policy"] == "fair" and {other["policy"] for other in told["others"]} == set(POLICIES) - {"fair"}
    assert run(["pool", "simulate", str(path)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["POLICY", "SWAPS", "MAKESPAN_S"] and len(lines) == 5
    assert run(["pool", "simulate", str(path), "--policy", "fare"]) == 2
