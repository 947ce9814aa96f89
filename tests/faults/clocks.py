"""Faults of clocks: wrong and jumping ones, of workers and of the server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.faults import load
from tests.faults.scenario import Forbidden, mine, scenario
from tests.faults.stage import Stage

from treadle.domain.events import TaskReleased
from treadle.testing.postgres import Server, wheel_binaries

HOUR = 3600
JUMPING = """\
import random, time
real, chance, offset, due = time.time, random.Random(), 0.0, 0.0
def jumping():
    global offset, due
    if real() > due:
        offset, due = chance.choice([-3600.0, 3600.0, 86400.0, -86400.0 * 365, 0.5]), real() + 0.2
    return real() + offset
time.time = jumping
"""


async def _workers(stage: Stage, seconds: float) -> None:
    place = stage.folder / "jumping"
    place.mkdir()
    (place / "sitecustomize.py").write_text(JUMPING)
    await stage.start_workers(1, PYTHONPATH=str(place))
    stage.done["worker whose wall clock jumps five times a second"] += 1
    shifted = ["unshare", *mine(), "--time", "--monotonic", "86400", "--boottime", "86400"]
    probe = await asyncio.to_thread(subprocess.run, [*shifted, "true"], capture_output=True, check=False)
    if probe.returncode == 0:
        await stage.start_workers(1, prefix=shifted)
        stage.done["worker whose monotonic clock is a day ahead"] += 1
    await stage.start_workers(1)
    [long] = await stage.submit(load.HOLD, seconds=seconds)
    async with stage.busy(12):
        await asyncio.sleep(seconds)
    await stage.all_ended()
    lost = [
        event for run in stage.accepted for event in await stage.store.events(run)
        if isinstance(event.payload, TaskReleased)
    ]  # fmt: skip
    assert not lost, f"leases were lost although no worker died: {lost}"
    assert (await stage.outside.state_at(long))["held"] == 1


async def _shortly(stage: Stage) -> None:
    await _workers(stage, 3.0)


@scenario("clocks of workers that jump by hours and years", quick=_shortly)
async def worker_clocks(stage: Stage) -> None:
    await _workers(stage, 20.0)


SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *ahead;
static long none;
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_AHEAD");
    int file = path ? open(path, O_RDONLY) : -1;
    void *at = file < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    ahead = at == MAP_FAILED ? &none : at;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME && ahead) now->tv_sec += *ahead;
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""
"""The wall clock of a process, ahead by what a shared file says."""


def _with_a_clock_that_jumps() -> Server:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Forbidden("there is no C compiler to make the server's clock jump with")
    folder = Path(tempfile.mkdtemp(prefix="treadle-clock-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "shim.c").write_text(SHIM)
    (folder / "ahead").write_bytes(bytes(8))
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(folder / "shim.so"), str(folder / "shim.c")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Forbidden(f"the C compiler does not work: {made.stderr[:200]}")
    env = {"LD_PRELOAD": str(folder / "shim.so"), "CLOCK_AHEAD": str(folder / "ahead")}
    server = Server(wheel_binaries(), env=env)
    (server.folder / "clock").symlink_to(folder)
    return server


@scenario("the clock of the server jumps an hour ahead, and back", own=_with_a_clock_that_jumps)
async def server_clock(stage: Stage) -> None:
    """Ahead: all leases lapse at once, whoever is at work. Back: a dead worker is noticed that much later."""
    place = (stage.server.folder / "clock").resolve()

    async def jump(seconds: int) -> None:
        before = await _server_time(stage)
        with (place / "ahead").open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
        assert abs(await _server_time(stage) - before) > HOUR / 2, "the server's clock did not jump"
        stage.done["jump by an hour"] += 1

    try:
        await stage.start_workers(3)
        async with stage.busy(12, pace=0.05):
            for _ in range(3):
                for seconds in (HOUR, 0, -HOUR, 0):
                    await asyncio.sleep(1.0)
                    await stage.witness()
                    began, known = time.monotonic(), len(stage.lines("enter"))
                    await jump(seconds)
                    await stage.until("something goes on", lambda known=known: len(stage.lines("enter")) > known + 12)  # type: ignore[misc]
                    stage.recovered.append(time.monotonic() - began)
        await stage.all_ended()
    finally:
        shutil.rmtree(place)


async def _server_time(stage: Stage) -> float:
    [[found]] = await stage.store._pool.run(lambda c: c.fetch("SELECT extract(epoch FROM clock_timestamp())::float8"))
    return float(found)
