"""What a sandbox costs: `true` in each backend beside `true` without one, and many sandboxes at once.

    python -m bench sandbox [--rounds N] [--at-once N] [--markdown]

Cold means a new sandbox for each call, in a workspace of its own; each backend was probed before, as it is once in
each process. Calls of all backends take turns, so that a noisy moment hits all of them. Memory of many at once is what
the machine has less meanwhile, as the kernel reckons it (MemAvailable), looked at twenty times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from treadle.ports.sandbox import Limits
from treadle.sandboxes.choose import BACKENDS, open_sandbox, probe

TARGET_SECONDS = 0.015
_LOOK_SECONDS = 0.05
_CONTAINER_ROUNDS = 5
_CONTAINERS = 20
"""As many at once as an engine is asked for: each takes a process of 40 MB outside."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """What became of many sandboxes at once."""

    succeeded: int
    seconds: float
    memory: int
    """Bytes, at most."""


async def _plain() -> None:
    process = await asyncio.create_subprocess_exec(
        "true", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    await process.communicate()


async def _cold(backend: str, folder: Path) -> bool:
    workspace = Path(tempfile.mkdtemp(dir=folder))
    sandbox = await open_sandbox(workspace, backend=backend)
    result = await sandbox.exec(["true"], limits=Limits(wall_seconds=120.0))
    await sandbox.close()
    return result.exit_code == 0


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def starts(backends: list[str], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each call, by backend; `plain` is the same without a sandbox."""
    taken: dict[str, list[float]] = {name: [] for name in ("plain", *backends)}
    for number in range(rounds):
        taken["plain"].append(await _timed(_plain))
        for name in backends:
            if name == "docker" and number >= _CONTAINER_ROUNDS:
                continue
            taken[name].append(await _timed(lambda name=name: _cold(name, folder)))
    return taken


async def at_once(backend: str, count: int, folder: Path) -> AtOnce:
    """Open so many sandboxes and run `true` in all of them."""
    lowest = [_available()]
    before = lowest[0]
    watching = asyncio.ensure_future(_watch(lowest))
    began = time.perf_counter()
    done = await asyncio.gather(*(_cold(backend, folder) for _ in range(count)), return_exceptions=True)
    seconds = time.perf_counter() - began
    watching.cancel()
    return AtOnce(sum(result is True for result in done), seconds, before - lowest[0])


async def _watch(lowest: list[int]) -> None:
    while True:
        lowest[0] = min(lowest[0], _available())
        await asyncio.sleep(_LOOK_SECONDS)


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _shown(milliseconds: float) -> str:
    return f"{milliseconds * 1000:.1f} ms"


async def _run(rounds: int, count: int, markdown: bool) -> int:
    backends = [found.name for found in await probe() if found.ok and found.name in BACKENDS]
    load = os.getloadavg()[0]
    rows = [("backend", "true, median", "best", "over unsandboxed", "target", "at once", "time", "memory")]
    with tempfile.TemporaryDirectory(prefix="treadle-bench-") as made:
        folder = Path(made)
        taken = await starts(backends, rounds, folder)
        plain = statistics.median(taken["plain"])
        rows.append(("no sandbox, no limits", _shown(plain), _shown(min(taken["plain"])), "-", "-", "-", "-", "-"))
        for name in backends:
            middle = statistics.median(taken[name])
            over = statistics.median(a - b for a, b in zip(taken[name], taken["plain"], strict=False))
            most = min(count, _CONTAINERS) if name == "docker" else count
            many = await at_once(name, most, folder)
            met = "met" if over < TARGET_SECONDS else "missed"
            rows.append(
                (
                    name,
                    _shown(middle),
                    _shown(min(taken[name])),
                    _shown(over),
                    met,
                    f"{many.succeeded} of {most} succeed",
                    f"{many.seconds:.1f} s",
                    f"{many.memory / 1e6:.0f} MB",
                )
            )
    print(f"{rounds} rounds, {os.cpu_count()} processors, load {load:.1f} when it began\n")
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |" if markdown else "  ".join(f"{cell:<22}" for cell in row))
        if markdown and number == 0:
            print("|" + "---|" * len(row))
    return 0


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench sandbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(argv)
    return asyncio.run(_run(options.rounds, options.at_once, options.markdown))
