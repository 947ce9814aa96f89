"""Faults of the server: crashes, a time without writing, a full disk."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from pathlib import Path
from random import Random

from tests.faults import load
from tests.faults.scenario import Forbidden, own, scenario
from tests.faults.stage import Stage

from treadle.testing.postgres import Server, wheel_binaries


async def _crash(stage: Stage, away: float) -> None:
    await stage.witness()
    await asyncio.to_thread(stage.server.halt)
    await asyncio.sleep(away)
    await asyncio.to_thread(stage.server.start)
    stage.done["pg_ctl -m immediate"] += 1
    began, known = time.monotonic(), len(stage.lines("enter"))
    await stage.until("something goes on", lambda: len(stage.lines("enter")) > known)
    stage.recovered.append(time.monotonic() - began)
    stage.say(f"    crashed, away for {away:.1f} s; work went on {stage.recovered[-1]:.2f} s after its start")


async def _crash_once(stage: Stage) -> None:
    await stage.start_workers(2)
    async with stage.busy(12):
        await asyncio.sleep(0.3)
        await _crash(stage, 0.5)


@scenario("PostgreSQL killed with -m immediate every few seconds for a minute", quick=_crash_once, own=own)
async def server_crash(stage: Stage) -> None:
    """Some of the crashes come while it recovers from the one before."""
    choice = Random(4)
    await stage.start_workers(4)
    end = time.monotonic() + 60
    async with stage.busy(24):
        while time.monotonic() < end:
            await asyncio.sleep(choice.uniform(1.0, 5.0))
            await _crash(stage, choice.uniform(0.0, 2.0))
            if choice.random() < 0.3:
                await _crash(stage, 0.0)


async def _read_only(stage: Stage, times: int = 1) -> None:
    await stage.start_workers(2)
    async with stage.busy(12):
        for _ in range(times):
            await asyncio.sleep(0.5)
            await stage.witness()
            await asyncio.to_thread(stage.server.reload, default_transaction_read_only="on")
            await asyncio.sleep(1.5)
            await asyncio.to_thread(stage.server.reload, default_transaction_read_only="off")
            stage.done["server read-only for 1.5 s"] += 1
            began, known = time.monotonic(), len(stage.lines("enter"))
            await stage.until("something goes on", lambda known=known: len(stage.lines("enter")) > known)  # type: ignore[misc]
            stage.recovered.append(time.monotonic() - began)


@scenario("a server that refuses to write for a while, as after a failover", own=own)
async def read_only(stage: Stage) -> None:
    await _read_only(stage, 5)


SMALL = Path("/mnt")
"""In a mount namespace of our own, anything may lie on top of what is there."""


def _on_a_small_disk() -> Server:
    """A server in a file system of 400 MB, which is gone with our mount namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", bytes(SMALL), b"tmpfs", 0, b"size=400m,mode=1777"):
        raise Forbidden(f"mounting a small file system is not allowed: {os.strerror(ctypes.get_errno())}")
    return Server(wheel_binaries(), {"max_wal_size": "'32MB'", "min_wal_size": "'32MB'"}, parent=SMALL)


@scenario("the disk of the server full", own=_on_a_small_disk, inside=("--mount",))
async def disk_full(stage: Stage) -> None:
    """The log grows until nothing can be written; then there is room again."""
    await stage.start_workers(2)
    for _ in range(3):
        await stage.submit(load.JOURNEY, 10, pace=0.01)
        await stage.witness()
        full = stage.server.log.count("No space left")
        ballast = _fill_up()
        filling = asyncio.ensure_future(stage.submit(load.FILL, 20, size=400_000))
        await stage.until("the server says so", lambda full=full: stage.server.log.count("No space left") > full)  # type: ignore[misc]
        stage.done["disk full"] += 1
        await asyncio.sleep(2.0)
        ballast.unlink()
        if not stage.server.running:
            stage.done["server down because of it"] += 1
            await asyncio.to_thread(stage.server.start)
        began = time.monotonic()
        await filling
        await stage.all_ended()
        stage.recovered.append(time.monotonic() - began)
        stage.say(f"    there is room again; all that had stopped was done {stage.recovered[-1]:.1f} s later")


def _fill_up() -> Path:
    """Leave 2 MB free."""
    ballast = SMALL / "ballast"
    free = os.statvfs(SMALL).f_bavail * os.statvfs(SMALL).f_frsize
    ballast.write_bytes(bytes(max(free - 2_000_000, 0)))
    return ballast
