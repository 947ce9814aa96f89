"""500 worlds in which everything goes wrong, and what must hold in them. `nightly.py` plays many more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.simulation.simulator import Violation, play

from treadle.domain.task import TaskState
from treadle.engine import elsewhere, worker
from treadle.graph import plan
from treadle.ports.store import TaskMove
from treadle.stores.memory import MemoryStore
from treadle.testing.virtual_time import VirtualLoop

ROOT = Path(__file__).parents[2]
SEEDS = 500
CHUNK = 25


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_every_invariant_holds_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(seed)


def test_a_seed_always_plays_the_same() -> None:
    here = [play(seed) for seed in (7, 7, 8)]
    assert here[0] == here[1] != here[2]
    command = [sys.executable, "-m", "tests.simulation.nightly", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert done.stdout.strip() == here[0]


def test_a_violation_says_how_to_replay_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryStore._commit

    def forgetful(self: MemoryStore, item, now, lease_seconds):  # type: ignore[no-untyped-def]
        run = self._runs.get(item.run_id)
        if run is not None and item.expected is not None:
            item = msgspec.structs.replace(item, expected=run.version, after="")
        return real(self, item, now, lease_seconds)

    monkeypatch.setattr(MemoryStore, "_commit", forgetful)
    with pytest.raises(Violation) as caught:
        for seed in range(200):
            play(seed)
    assert any("python -m tests.simulation.nightly --seed" in note for note in caught.value.__notes__)


def commits_without_a_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryStore._commit

    def commit(self: MemoryStore, item: Any, *rest: Any) -> Any:
        task = self._tasks.get(item.task_id)
        if task is not None and task.state is TaskState.LEASED:
            item = msgspec.structs.replace(item, lease_seq=task.lease_seq, worker=task.worker)
        return real(self, item, *rest)

    monkeypatch.setattr(MemoryStore, "_commit", commit)


def keeps_what_failed_calls_have_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.reserve

    async def reserve(self: MemoryStore, run_id: str, activation: str, key: str, amounts: Any) -> None:
        if any(amounts.values()):
            await real(self, run_id, activation, key, amounts)

    monkeypatch.setattr(MemoryStore, "reserve", reserve)


def completes_offered_tasks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = elsewhere.run_offered

    async def run_offered(*given: Any) -> Any:
        return msgspec.structs.replace(await real(*given), move=TaskMove("ready"))

    monkeypatch.setattr(worker, "run_offered", run_offered)


def fires_joins_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plan.Position._fire

    def fire(self: Any, frame: Any, key: Any, started: Any) -> None:
        arrivals = list(frame.waiting[key])
        real(self, frame, key, started)
        if len(arrivals) > 1 and key not in frame.fired:
            frame.fired.add(key)
            frame.waiting[key] = arrivals

    monkeypatch.setattr(plan.Position, "_fire", fire)


def forgets_offered_tasks_when_it_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryStore.sweep

    async def sweep(self: MemoryStore, **given: Any) -> Any:
        leased = [task for task in self._tasks.values() if task.queue.startswith("node:") and task.worker]
        hidden = {task.task_id: self._tasks.pop(task.task_id) for task in leased}
        try:
            return await real(self, **given)
        finally:
            self._tasks.update(hidden)

    monkeypatch.setattr(MemoryStore, "sweep", sweep)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        commits_without_a_fence,
        keeps_what_failed_calls_have_booked,
        completes_offered_tasks_twice,
        fires_joins_twice,
        forgets_offered_tasks_when_it_sweeps,
    ],
)
def test_a_bug_that_is_planted_is_found(plant: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((Violation, KeyError)):
        for seed in range(200):
            play(seed)
    print(f"{plant.__name__}: seed {seed}")


def test_virtual_time_passes_only_when_nothing_else_is_left_to_do() -> None:
    import asyncio

    async def long() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert VirtualLoop().run(long()) == pytest.approx(3600)


def test_a_world_in_which_everything_waits_for_ever_says_so() -> None:
    import asyncio

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="Everything waits"):
        VirtualLoop().run(never())
