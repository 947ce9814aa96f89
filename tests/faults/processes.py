"""Faults of worker processes: killed, stopped, stalled, poisoned, replaced by newer ones."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

from tests.faults import load
from tests.faults.scenario import scenario
from tests.faults.stage import DETECTION, LEASE, Stage, WorkerProcess

from treadle.domain.events import NodeFinished, TaskReleased
from treadle.domain.task import RunStatus, TaskRow


async def _kills(stage: Stage, count: int) -> None:
    workers = await stage.start_workers(4)
    async with stage.busy(24):
        for number in range(count):
            seen = 4 + number
            await stage.until("all work", lambda seen=seen: len({at.pid for at in stage.lines("enter")}) == seen)  # type: ignore[misc]
            victim = workers.pop(0)
            stage.workers.remove(victim)
            await stage.witness()
            held = await _some_held(stage, victim)
            killed = time.time()
            victim.kill()
            stage.done["SIGKILL"] += 1
            stage.recovered.append(await stage.taken_over(held, killed))
            stage.say(f"    killed one of 4 holding {len(held)} tasks; all taken over in {stage.recovered[-1]:.2f} s")
            if number + 1 < count:
                workers += await stage.start_workers(1)
    late = max(stage.recovered)
    assert late <= DETECTION + 1, f"taken over after {late:.2f} s; promised are {DETECTION:g} s"


async def _some_held(stage: Stage, worker: WorkerProcess) -> list[TaskRow]:
    """Stop a worker for a moment, so that what it holds can be read before it dies with it."""
    while True:
        worker.signal(signal.SIGSTOP)
        held = await stage.held_by(worker)
        if held:
            return held
        worker.signal(signal.SIGCONT)
        await asyncio.sleep(0.02)


async def _kill_once(stage: Stage) -> None:
    await _kills(stage, 1)


@scenario("kill -9 one of four workers under load", quick=_kill_once)
async def kill_nine(stage: Stage) -> None:
    """Ten times; each time a new worker takes its place."""
    await _kills(stage, 10)


async def _zombie(stage: Stage) -> None:
    [zombie] = await stage.start_workers(1)
    runs = await stage.submit(load.HOLD, 2, seconds=1.0)
    await stage.submit(load.JOURNEY, 4, pace=0.1)
    await stage.until("it is at work", lambda: all(stage.lines("tick", run) for run in runs))
    stopped = time.time()
    zombie.signal(signal.SIGSTOP)
    held = await stage.held_by(zombie)
    stage.done["SIGSTOP"] += 1
    others = await stage.start_workers(1)
    stage.recovered.append(await stage.taken_over(held, stopped))
    await stage.all_ended()
    await stage.witness()
    zombie.signal(signal.SIGCONT)
    stage.done["SIGCONT past the lease"] += 1
    stage.say(f"    {len(held)} tasks of the stopped worker were finished by another; it wakes up")
    await stage.submit(load.JOURNEY, 10)
    others[0].kill()  # what comes now only the one that was stopped can do
    stage.done["SIGKILL"] += 1
    await stage.all_ended()
    for run in runs:
        result = await stage.outside.state_at(run)
        assert result["held"] == 2, "a worker that had lost its lease was heard"


@scenario("SIGSTOP a worker past its leases, then SIGCONT", quick=_zombie)
async def zombie(stage: Stage) -> None:
    """Five times over."""
    for _ in range(5):
        await _zombie(stage)
        for worker in stage.workers:
            worker.kill()
        stage.workers.clear()


async def _stall(stage: Stage) -> None:
    """A loop that stands still keeps its leases; a process that stands still loses them, and is not heard."""
    await stage.start_workers(1, capacity=1)
    [stalled] = await stage.submit(load.STALL, seconds=2 * LEASE)
    await stage.until("the loop stands still", lambda: stage.lines("enter", stalled))
    [other] = await stage.start_workers(1)
    [frozen] = await stage.submit(load.FREEZE, seconds=2.5 * LEASE)
    await stage.until("a process stands still", lambda: stage.lines("enter", frozen))
    await stage.all_ended()
    assert (await stage.outside.state_at(stalled))["stalled"] == 1
    assert not await _releases(stage, stalled), "a stalled loop lost its lease, and its heartbeat thread was at work"
    assert (await stage.outside.state_at(frozen))["froze"] == 2
    assert await _releases(stage, frozen) == 1
    stage.done[f"loop stalled for {2 * LEASE:g} s"] += 1
    stage.done[f"interpreter held for {2.5 * LEASE:g} s"] += 1
    await stage.submit(load.JOURNEY, 4)
    assert other.process.poll() is None


async def _releases(stage: Stage, run_id: str) -> int:
    return sum(isinstance(event.payload, TaskReleased) for event in await stage.store.events(run_id))


@scenario("an event loop, and a whole interpreter, that stand still for longer than a lease", quick=_stall)
async def stall(stage: Stage) -> None:
    """As the quick form: what can go differently is seen at once."""
    await _stall(stage)


@scenario("a task that takes every worker along that runs it")
async def poison(stage: Stage) -> None:
    """Workers are started again as a service manager would; the task is quarantined, and nothing else suffers."""
    workers = await stage.start_workers(3)
    deaths = 0
    [run] = await stage.submit(load.POISON)
    stage.may_fail[run] = "workers died"
    began = time.monotonic()
    async with stage.busy(8):
        while not (await stage.store.run(run)).status.ended:
            for worker in [w for w in workers if w.process.poll() is not None]:
                assert worker.process.returncode == 70, worker.said
                workers.remove(worker)
                deaths += 1
                workers += await stage.start_workers(1)
            assert time.monotonic() - began < 120, "a poison task was never put aside"
            await asyncio.sleep(0.05)
    stage.done["death by one task"] += len(stage.lines("enter", run))
    [task] = await stage.store.tasks(run)
    assert task.state.value == "failed" and "died" in (task.error or ""), task
    assert len(stage.lines("enter", run)) == 5
    stage.say(f"    quarantined after {time.monotonic() - began:.1f} s and {deaths} workers")


@scenario("a rolling deploy: new code for old runs, and a new shape that old workers do not know")
async def deploy(stage: Stage) -> None:
    await _deploy(stage, 40, 4)


async def _deploy(stage: Stage, runs: int, count: int) -> None:
    old = await stage.start_workers(count, **{load.RELEASE: "1"})
    shape = load.changing("1")
    steady = await stage.submit(load.STEADY, runs, pace=0.1)
    before = await stage.submit(shape, runs // 4, pace=0.05)
    new: list[WorkerProcess] = []
    for worker in old[:-1]:
        new += await stage.start_workers(1, **{load.RELEASE: "2"})
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0, worker.said
        stage.done["worker replaced"] += 1
    steady += await stage.submit(load.STEADY, runs // 4, pace=0.05)
    after = await stage.submit(load.changing("2"), runs // 4, pace=0.05)
    await stage.all_ended()
    old[-1].signal(signal.SIGTERM)
    assert await old[-1].ended() == 0
    stage.done["worker replaced"] += 1
    by = Counter({run: 0 for run in steady})
    for run in (*steady, *before, *after):
        result = dict(await stage.outside.state_at(run))
        names = {result[key] for key in result if key.startswith("by-")}
        by["".join(sorted(names))] += 1
        assert run not in before or names == {"1"}, f"{run} was begun in the old shape, and run by {names}"
        assert run not in after or (names == {"2"} and len(result) == 6), f"{run} has the new shape: {result}"
        released = await _releases(stage, run)
        assert not released, f"{run}: a worker that was told to stop did not finish {released} tasks"
        rows = [e for e in await stage.store.events(run) if isinstance(e.payload, NodeFinished)]
        assert len(rows) == (5 if run in after else 4)
    stage.say(f"    runs by old code only {by['1']}, by both {by['12']}, by new code only {by['2']}")
    assert (await stage.store.run(steady[0])).status is RunStatus.DONE
