"""Faults of numbers: a million tasks that wait, two hundred workers at once."""

from __future__ import annotations

import asyncio
import signal
import time
from random import Random
from statistics import median

from bench.backlog import queue_up
from tests.faults import crowd, load
from tests.faults.scenario import scenario
from tests.faults.stage import OPEN, Stage, WorkerProcess

from treadle.domain.task import RunStatus
from treadle.errors import Conflict, NotFound, UsageError
from treadle.testing.postgres import Server, wheel_binaries

PROCESSES, EACH = 8, 25


def _for_many() -> Server:
    return Server(wheel_binaries(), {"max_connections": "800"})


async def _herd(stage: Stage) -> list[WorkerProcess]:
    arguments = ["-m", crowd.__name__, f"{stage.url}&pool_size=1".replace("pool_size=3&", ""), "--workers", str(EACH)]
    made = [stage.spawn(arguments) for _ in range(PROCESSES)]
    async with asyncio.timeout(120):
        await asyncio.gather(*(each.up() for each in made))
    return made


@scenario("two hundred workers at once, while runs are paused, changed, retried and cancelled", own=_for_many)
async def herd(stage: Stage) -> None:
    """They share few runs, so that all of them want the same rows; the server crashes, and all come back at once."""
    made = await _herd(stage)
    stage.done["worker"] += PROCESSES * EACH
    choice = Random(15)
    async with stage.busy(40):
        for number in range(4):
            end = time.monotonic() + 6
            storms = [asyncio.ensure_future(_storm(stage, choice, end)) for _ in range(6)]
            await asyncio.gather(*storms)
            await stage.witness()
            if number == 1:
                made[0].kill()
                stage.done["25 workers killed at once"] += 1
            if number == 2:
                await asyncio.to_thread(stage.server.halt)
                await asyncio.to_thread(stage.server.start)
                stage.done["server crash"] += 1
        for row in await stage.store.runs(status=OPEN | {RunStatus.ERROR}, limit=10_000):
            if row.paused:
                await stage.outside.resume(row.run_id)
    await stage.all_ended()
    deadlocks = stage.server.log.count("deadlock detected")
    stage.say(f"    the server undid {deadlocks} statements because of deadlocks")
    assert not any("deadlock" in worker.said for worker in stage.workers), "a deadlock was not tried again"
    for each in made:
        each.signal(signal.SIGKILL)


async def _storm(stage: Stage, choice: Random, end: float) -> None:
    outside = stage.outside
    while time.monotonic() < end:
        rows = await stage.store.runs(status=OPEN, limit=40)
        if not rows:
            await asyncio.sleep(0.05)
            continue
        run_id = choice.choice(rows).run_id
        act = choice.choice(["pause", "resume", "resume", "update", "update", "cancel", "retry", "sweep"])
        try:
            if act == "pause":
                await outside.pause(run_id)
            elif act == "resume":
                await outside.resume(run_id)
            elif act == "update":
                await outside.update_state(run_id, {"pace": choice.random() / 50})
            elif act == "cancel" and choice.random() < 0.3:
                await outside.cancel(run_id)
            elif act == "retry":
                await outside.retry(run_id)
            else:
                await stage.store.sweep(max_attempts=5)
        except (Conflict, NotFound, UsageError):
            continue  # it moved on meanwhile
        stage.done["change from outside"] += 1


MILLION = 1_000_000


@scenario("a backlog of a million runs, and urgent ones among them", own=_for_many)
async def backlog(stage: Stage) -> None:
    """Urgent runs pass those that wait, as quickly as when nobody does; what has passed is taken away at the end."""
    await stage.start_workers(2)
    alone = await _urgent(stage)
    began = time.monotonic()
    graph = load.BACKLOG.compile()
    await queue_up(stage.store, MILLION, graph=graph.pin, node="backlog")
    stage.say(f"    a million runs queued in {time.monotonic() - began:.0f} s; workers are at it")
    stage.done["run queued"] += MILLION
    among = await _urgent(stage)
    waiting = await _count(stage, "SELECT count(*) FROM treadle.tasks")
    stage.say(
        f"    four urgent steps took {median(alone):.2f} s alone, {median(among):.2f} s among {waiting:,} that wait "
        f"(longest {max(alone):.2f} and {max(among):.2f} s)"
    )
    assert waiting > MILLION / 2, "there was no backlog"
    for worker in stage.workers:
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0, worker.said
    ended = await stage.store.runs(prefix="backlog-", status=frozenset({RunStatus.DONE}), limit=2_000)
    stage.accepted += [row.run_id for row in ended]
    stage.recovered += among
    await _count(stage, "WITH gone AS (DELETE FROM treadle.runs WHERE NOT ended RETURNING 1) SELECT count(*) FROM gone")


async def _urgent(stage: Stage) -> list[float]:
    took = []
    for _ in range(30):
        began = time.monotonic()
        await stage.submit(load.URGENT)
        [run] = stage.accepted[-1:]

        async def over(run: str = run) -> bool:
            return (await stage.store.run(run)).status.ended

        await stage.until("an urgent run ended", over)
        took.append(time.monotonic() - began)
    return took


async def _count(stage: Stage, sql: str) -> int:
    text = stage.store.where.sql(sql)
    return int((await stage.store._pool.run(lambda c: c.fetch(text)))[0][0])
