"""Durable chains on one PostgreSQL, side by side: one run at a time, and fifty at once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

from bench.chain_peers import CONTENDERS, STEPS
from bench.engine_measure import Rates, Row, versus
from bench.servers import fresh_database, postgres

PEERS = [name for name in CONTENDERS if name != "treadle"]


class Contender:
    """One library in its own process."""

    def __init__(self, name: str, dsn: str) -> None:
        command = [sys.executable, "-m", "bench.chain_peers", name, dsn]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready", f"{name} did not start"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def time(self, what: str, count: int) -> float:
        """Seconds for so many runs."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        return float(self._line().split()[0])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def chains(rounds: int, *, one: int = 20, many: int = 50, slices: int = 4) -> list[Row]:
    """Both rows. In each round the contenders take turns `slices` times, beginning with another one each time."""
    with postgres() as server, ExitStack() as stack:
        running = {}
        for number, name in enumerate(CONTENDERS):
            running[name] = Contender(name, fresh_database(server, f"chains{number}"))
            stack.callback(running[name].close)
        rows = []
        for what, count, title, bounds in (
            ("one", one, f"chains of {STEPS} steps, PostgreSQL, one run at a time", (1.0, 1.5)),
            ("many", many, f"chains of {STEPS} steps, PostgreSQL, {many} runs at once", (8.0, 10.0)),
        ):
            rates = _interleaved(running, what, count, rounds, slices)
            peers = {name: name for name in PEERS}
            rows.append(versus(title, "steps/s", rates, peers, least=bounds[0], aim=bounds[1]))
        return rows


def _interleaved(running: dict[str, Contender], what: str, count: int, rounds: int, slices: int) -> Rates:
    names = list(running)
    rates: Rates = {name: [] for name in names}
    for number in range(rounds):
        spent = dict.fromkeys(names, 0.0)
        for piece in range(slices):
            turn = (number + piece) % len(names)
            for name in names[turn:] + names[:turn]:
                spent[name] += running[name].time(what, count)
        for name, seconds in spent.items():
            rates[name].append(STEPS * count * slices / seconds)
    return rates
