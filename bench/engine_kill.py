"""SIGKILL at random moments, resumed in a new process each time, until every run has ended; then the books are checked.

Every node writes to a ledger that is fsynced and knows nothing of Treadle: when it is entered, when it runs an
idempotent effect, and when it runs an at_most_once effect. After each kill the log is read, and the ledger's length
noted. At the end, nothing that the log held then may stand in the ledger behind that point.

    python -m bench engine --only kills --kills 1000
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from bench.engine_disk import scratch
from bench.engine_measure import Row
from treadle.domain.events import NodeFinished
from treadle.domain.task import RunStatus
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import WorkerSettings
from treadle.errors import Conflict, EffectInterrupted, RunFailed
from treadle.graph.build import Graph
from treadle.graph.spec import END, START, Send
from treadle.stores.sqlite import SqliteStore

PARTS, VISITS, AT_ONCE = 3, 3, 3
NODES = 1 + 1 + PARTS + 1 + VISITS + 1
LATEST = 0.12
"""Seconds after a child is up until which it may be killed; a run takes about a third of that."""
OPEN = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING})


def _joined(old: list, new: list) -> list:
    return old + new


class Journey(TypedDict, total=False):
    log: Annotated[list, _joined]
    part: int


# -- the child: runs until it is killed --------------------------------------------------------------------------------


class Ledger:
    """Lines on disk before the call returns; one writer at a time."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, ctx: Any) -> str:
        os.write(self._file, f"{kind} {ctx.run_id} {ctx.activation}\n".encode())
        os.fsync(self._file)
        return kind


def journey(ledger: Ledger) -> Graph:
    """START -> {plan -> 3 x part, side} -> merge -> spin three times -> seal (an at_most_once node)."""

    def pay_after(ctx: Any) -> Any:
        async def pay() -> str:
            said = ledger.write("once", ctx)
            await asyncio.sleep(0.002)  # a kill finds it done and not recorded often enough
            return said

        return pay

    async def node(state: Any, ctx: Any) -> dict[str, Any]:
        ledger.write("enter", ctx)
        await ctx.step("work", lambda: ledger.write("step", ctx))
        try:
            await ctx.step("pay", pay_after(ctx), effects="at_most_once")
        except EffectInterrupted:
            pass  # it was in flight at a kill: whether it happened is for others to find out, so it is not repeated
        return {"log": [ctx.activation]}

    async def seal(state: Any, ctx: Any) -> dict[str, Any]:
        ledger.write("sealed", ctx)
        await asyncio.sleep(0.005)
        return {"log": [ctx.activation]}

    graph = Graph("journey", state=Journey)
    for name in ("plan", "side", "part", "merge", "spin"):
        graph.add_node(name, node)
    graph.add_node("seal", seal, effects="at_most_once")
    graph.add_edge(START, "plan").add_edge(START, "side").add_edge("side", "merge").add_edge("part", "merge")
    graph.add_conditional_edge("plan", lambda state: [Send("part", {"part": n}) for n in range(PARTS)], ["part"])
    graph.add_edge("merge", "spin")
    graph.add_conditional_edge(
        "spin",
        lambda state: "seal" if sum(name.startswith("spin") for name in state["log"]) == VISITS else "spin",
        ["spin", "seal"],
    )
    return graph.add_edge("seal", END)


async def _child(database: str, ledger: str, drain: bool) -> None:
    settings = WorkerSettings(max_deaths=10**6)
    async with Orchestrator(SqliteStore(database), settings=settings) as orchestrator:
        graph = orchestrator.add_graph(journey(Ledger(ledger)))
        left = [row.run_id for row in await orchestrator.list(status=OPEN, limit=10**6)]
        print("go", flush=True)
        for run in left:
            with suppress(Conflict):  # it has come to its end meanwhile
                await orchestrator.resume(run)

        async def slot() -> None:
            while left or not drain:
                try:
                    if left:
                        await orchestrator.wait(left.pop())
                    else:
                        await orchestrator.execute(graph, {"log": []})
                except RunFailed:
                    continue  # a sealed node that was cut short; the parent checks that it was that

        await asyncio.gather(*[slot() for _ in range(AT_ONCE)])


# -- the parent: kills, and keeps the books ----------------------------------------------------------------------------


@dataclass
class Books:
    """What the log held after each kill, and how long the ledger was then."""

    finished: dict[tuple[str, str], int] = field(default_factory=dict)
    """(run, activation) -> length of the ledger when the log was first seen to hold its NodeFinished."""
    stepped: dict[tuple[str, str], int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    done: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


async def _read(database: Path, ledger: Path, books: Books) -> None:
    store = SqliteStore(database)
    await store.open()
    length = len(_lines(ledger))
    for row in await store.runs(limit=10**6):
        if row.run_id in books.ended:
            continue
        events = await store.events(row.run_id)
        if [event.seq for event in events] != list(range(1, len(events) + 1)):
            books.wrong.append(f"run {row.run_id}: its events have gaps")
        finished = [str(event.activation) for event in events if isinstance(event.payload, NodeFinished)]
        books.wrong += [f"{row.run_id} {name}: finished {n} times" for name, n in Counter(finished).items() if n > 1]
        known = {activation for run, activation in books.finished if run == row.run_id}
        books.wrong += [f"{row.run_id} {name}: gone from the log" for name in known - set(finished)]
        for name in finished:
            books.finished.setdefault((row.run_id, name), length)
        for event in events:
            if event.type == "StepRecorded" and event.step == "work":
                books.stepped.setdefault((row.run_id, str(event.activation)), length)
        if row.status.ended:
            books.ended.add(row.run_id)
            _close(row.run_id, row.status, row.error or "", sorted(finished), books)
    await store.close()


def _close(run: str, status: RunStatus, error: str, finished: list[str], books: Books) -> None:
    if status is RunStatus.DONE and len(finished) == NODES:
        books.done += 1
    elif status is RunStatus.ERROR and "at_most_once" in error and len(finished) == NODES - 1:
        books.refused += 1
    else:
        books.wrong.append(f"run {run} ended {status.value} after {len(finished)} nodes: {error}")


def _lines(ledger: Path) -> list[list[str]]:
    return [line.split(" ") for line in ledger.read_text().splitlines()] if ledger.exists() else []


def _judge(lines: list[list[str]], books: Books) -> None:
    """Hold the ledger against the log."""
    once: Counter[tuple[str, str, str]] = Counter()
    for number, (kind, run, activation) in enumerate(lines):
        key = (run, activation)
        if kind in ("enter", "sealed") and number >= books.finished.get(key, len(lines)):
            books.wrong.append(f"{run} {activation}: ran again after it had finished")
        if kind == "step" and number >= books.stepped.get(key, len(lines)):
            books.wrong.append(f"{run} {activation}: repeated a recorded step")
        if kind in ("once", "sealed"):
            once[kind, run, activation] += 1
    books.wrong += [f"{run} {name}: {kind} {n} times" for (kind, run, name), n in once.items() if n > 1]


def _spawn(database: Path, ledger: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.engine_kill", str(database), str(ledger), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _kill_one(database: Path, ledger: Path, chance: random.Random) -> None:
    """Every tenth child dies while it comes up, the others at work."""
    child = _spawn(database, ledger)
    assert child.stdout is not None
    if chance.random() >= 0.1:
        child.stdout.readline()
        time.sleep(chance.uniform(0, LATEST))
    else:
        time.sleep(chance.uniform(0.1, 0.4))
    early = child.poll()
    child.kill()
    errors = child.communicate()[1]
    if early is not None:
        raise RuntimeError(f"The child ended by itself ({early}):\n{errors[-2000:]}")


def kills(folder: Path | None, count: int, seed: int = 1) -> list[Row]:
    """The whole probe, as a row of the table."""
    chance = random.Random(seed)
    books = Books()
    with scratch(folder) as at:
        database, ledger = at / "treadle.db", at / "ledger.txt"
        for _ in range(count):
            _kill_one(database, ledger, chance)
            if database.exists():
                asyncio.run(_read(database, ledger, books))
        last = _spawn(database, ledger, "drain")
        errors = last.communicate()[1]
        if last.returncode:
            books.wrong.append(f"the last process failed: {errors[-500:]}")
        asyncio.run(_read(database, ledger, books))
        lines = _lines(ledger)
    _judge(lines, books)
    if left := {run for _, run, _ in lines} - books.ended:
        books.wrong.append(f"{len(left)} runs did not end")
    entered = sum(line[0] in ("enter", "sealed") for line in lines)
    again = entered - len({(run, name) for kind, run, name in lines if kind in ("enter", "sealed")})
    others: dict[str, float | str] = {
        "runs done": str(books.done),
        "runs stopped at a cut-short at_most_once node": str(books.refused),
        "nodes entered": str(entered),
        "unfinished ones entered again": str(again),
    }
    if books.wrong:
        others["WRONG"] = " / ".join(books.wrong[:5])
    name, wrong = f"SIGKILL, {count:,} kills", len(books.wrong)
    peer = "can run a finished node twice (langgraph#8039)"
    return [Row(name, "", f"{wrong} promises broken", peer, wrong, "broken", 0, None, "less", others=others)]


if __name__ == "__main__":
    asyncio.run(_child(sys.argv[1], sys.argv[2], sys.argv[3:] == ["drain"]))
