"""What the engine's benchmarks share: interleaved rounds, rows of the table, the machine."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

Work = Callable[[], Awaitable[Any]]
Rates = dict[str, list[float]]
"""Contender -> units per second, one for each round; `NAME cpu` -> units per second of processor time."""


@dataclass
class Row:
    """One line of the table: what both did, and the figure that there is an aim for."""

    name: str
    unit: str
    treadle: float | str
    peer: float | str | None
    """LangGraph; where several of its ways were measured, the best of them."""
    value: float
    """What is held against the aims."""
    value_unit: str
    least: float | None = None
    aim: float | None = None
    better: Literal["more", "less"] = "more"
    others: dict[str, float | str] = field(default_factory=dict)
    """Further figures of the same run, by name."""
    spread: tuple[float, float] | None = None
    """Lowest and highest `value` of a round."""
    raw: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def met(self) -> str:
        """`aim`, `at least`, `missed`, or `-` where nothing is aimed at."""
        if self.least is None and self.aim is None:
            return "-"
        for name, bound in (("aim", self.aim), ("at least", self.least)):
            if bound is not None and (self.value >= bound if self.better == "more" else self.value <= bound):
                return name
        return "missed"


async def interleave(
    work: Mapping[str, Work], units: float, *, rounds: int, repeat: int, slices: int = 1, renew: Work | None = None
) -> Rates:
    """Time every contender in every round; returns units per second.

    Setting up is the caller's, and warm-up is one call that is not timed. A round lets the contenders take turns
    `slices` times, `repeat` calls each, beginning with another one each time. `renew` is called, untimed, before each
    slice: it empties what stores in memory have piled up. What exists before is kept out of the garbage collector's
    sight, so that nobody pays for the other's modules.
    """
    for call in work.values():
        await (renew or _nothing)()
        await call()
    names = list(work)
    rates: Rates = {name: [] for name in [*names, *map(cpu, names)]}
    for number in range(rounds):
        spent = dict.fromkeys(rates, 0.0)
        for piece in range(slices):
            turn = (number + piece) % len(names)
            for name in names[turn:] + names[:turn]:
                await (renew or _nothing)()
                wall, used = await _timed(work[name], repeat)
                spent[name] += wall
                spent[cpu(name)] += used
        for name, seconds in spent.items():
            rates[name].append(units * repeat * slices / max(seconds, 1e-9))
    return rates


async def _nothing() -> None:
    pass


async def _timed(call: Work, repeat: int) -> tuple[float, float]:
    gc.collect()
    gc.freeze()
    started, used = time.perf_counter(), time.process_time()
    for _ in range(repeat):
        await call()
    taken = time.perf_counter() - started, time.process_time() - used
    gc.unfreeze()
    return taken


def cpu(name: str) -> str:
    """Under which name the rates by processor time stand: on a busy machine they are the steadier ones."""
    return f"{name} cpu"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def best(rates: Rates, names: Sequence[str]) -> str:
    """The contender with the highest median."""
    return max(names, key=lambda name: median(rates[name]))


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round, so that what slowed the machine for a while slowed both."""
    return [a / b for a, b in zip(over, under, strict=True)]


def versus(
    name: str, unit: str, rates: Rates, peers: Mapping[str, str], *, least: float | None, aim: float | None
) -> Row:
    """A row of Treadle against the fastest of its peers (contender -> how the table calls it)."""
    fastest = best(rates, list(peers))
    each = ratios(rates["treadle"], rates[fastest])
    others: dict[str, float | str] = {peers[peer]: median(rates[peer]) for peer in peers}
    if cpu(fastest) in rates:
        others["ratio by processor time"] = median(ratios(rates[cpu("treadle")], rates[cpu(fastest)]))
    return Row(
        name, unit, median(rates["treadle"]), median(rates[fastest]), median(each), "x", least, aim,
        others=others, spread=(min(each), max(each)), raw=rates,
    )  # fmt: skip


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def machine(folder: Path) -> str:
    """One line on where this ran."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown processor",
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    kernel = ".".join(platform.release().split(".")[:2])
    load = "/".join(f"{x:.1f}" for x in os.getloadavg())
    return (
        f"{os.cpu_count()} x {cpu}, {memory / 2**20:.0f} GiB, {platform.system()} {kernel}, "
        f"{_filesystem(folder)}, Python {platform.python_version()}, load {load}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _filesystem(folder: Path) -> str:
    at = str(folder.resolve())
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    inside = [(len(where), kind) for where, kind in mounts if at == where or at.startswith(where.rstrip("/") + "/")]
    return max(inside, default=(0, "unknown file system"))[1]
