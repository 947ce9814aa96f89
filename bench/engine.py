"""The graph engine beside LangGraph, in one run on one machine: `python -m bench engine`. See bench/README.md.

This module times the graphs in memory and prints the table. Durable workloads are in engine_disk.py, probes in
probes.py, kills in engine_kill.py.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import engine_cpu, engine_disk, engine_graphs, engine_kill, probes
from bench.engine_disk import thread
from bench.engine_measure import Rates, Row, installed, interleave, machine, versus
from bench.table import as_markdown, as_text
from treadle.engine.orchestrator import Orchestrator
from treadle.stores.memory import MemoryStore

BARE, SAVER = "no checkpointer", "InMemorySaver, sync"
SYNC_API = "no checkpointer, sync API"
Shape = Callable[[engine_graphs.Kit], Any]


@dataclasses.dataclass(frozen=True)
class Options:
    rounds: int
    kills: int
    folder: Path | None
    """Where databases are made; None: the system's temporary folder."""


async def _measure(
    shape: Shape, state: Any, units: int, rounds: int, repeat: int, slices: int, *, has_sync_nodes: bool = False
) -> tuple[Rates, str]:
    """Rates of one graph in Treadle's memory store, and in LangGraph with and without its saver in memory.

    Also says where the results of the two differ in size, which would make the comparison worthless.
    """
    ours = shape(engine_graphs.treadle_kit())
    theirs = shape(engine_graphs.langgraph_kit())
    bare = theirs.compile()
    results: dict[str, Any] = {}
    fresh = _Fresh(lambda saver: {SAVER: theirs.compile(checkpointer=saver)})

    async def treadle() -> None:
        results["treadle"] = await fresh.orchestrator.execute(ours, state)

    async def plain() -> None:
        results["peer"] = await bare.ainvoke(state, thread())

    async def saved() -> None:
        await fresh.graphs[SAVER].ainvoke(state, thread(), durability="sync")

    async def sync_api() -> None:
        bare.invoke(state, thread())

    work = {"treadle": treadle, BARE: plain, SAVER: saved} | ({SYNC_API: sync_api} if has_sync_nodes else {})
    async with fresh:
        rates = await interleave(work, units, rounds=rounds, repeat=repeat, slices=slices, renew=fresh.renew)
    return rates, _difference(results["treadle"], results["peer"])


class _Fresh:
    """Stores in memory that are emptied between slices; the graphs on them stay warm."""

    def __init__(self, compile: Callable[[Any], dict[str, Any]]) -> None:
        from langgraph.checkpoint.memory import InMemorySaver

        self.orchestrator = Orchestrator(MemoryStore())
        self._saver = InMemorySaver()
        self.graphs = compile(self._saver)

    async def renew(self) -> None:
        for row in await self.orchestrator.list(limit=10**9):
            await self.orchestrator.store.delete_run(row.run_id)
        for name in list(self._saver.storage):
            await self._saver.adelete_thread(name)

    async def __aenter__(self) -> None:
        await self.renew()

    async def __aexit__(self, *_: object) -> None:
        await self.orchestrator.close()


def _difference(ours: Any, theirs: Any) -> str:
    sizes = [{key: len(v) for key, v in dict(side).items() if isinstance(v, list)} for side in (ours, theirs)]
    return "" if sizes[0] == sizes[1] else f"results differ: {sizes[0]}, LangGraph {sizes[1]}"


async def _row(
    name: str, unit: str, shape: Shape, state: Any, units: int, options: Options, bounds: tuple[float, float],
    *, repeat: int = 1, slices: int = 1, has_sync_nodes: bool = False,
) -> Row:  # fmt: skip
    rates, difference = await _measure(
        shape, state, units, options.rounds, repeat, slices, has_sync_nodes=has_sync_nodes
    )
    peers = {peer: peer for peer in (BARE, SAVER, SYNC_API) if peer in rates}
    row = versus(name, unit, rates, peers, least=bounds[0], aim=bounds[1])
    if difference:
        row.others["NOTE"] = difference
    return row


async def sequential(options: Options) -> list[Row]:
    rows = []
    for count, repeat, slices in ((10, 10, 4), (1000, 1, 1)):
        shape = _sized(engine_graphs.sequential, count)
        name, state = f"sequential {count}, in memory", {"messages": []}
        rows.append(await _row(name, "steps/s", shape, state, count, options, (4, 10), repeat=repeat, slices=slices))
    return rows


async def fan_out(options: Options) -> list[Row]:
    shape = _sized(engine_graphs.fan_out, 100)
    return [
        await _row("fan-out 100, in memory", "nodes/s", shape, {"number": 0}, 102, options, (3, 5), repeat=3, slices=2)
    ]


async def subgraphs(options: Options) -> list[Row]:
    rows = []
    for count in (10, 100):
        name, state = f"fanout_to_subgraph {count}x, in memory", engine_graphs.subjects(count)
        rows.append(await _row(name, "nodes/s", engine_graphs.fanout_to_subgraph, state, 13 * count, options, (3, 5)))
    return rows


async def react(options: Options) -> list[Row]:
    rows = []
    for calls in (10, 100):
        rates = await _react_rates(calls, options)
        name = f"react_agent {calls}x, in memory"
        peers = {"prebuilt": "prebuilt", "prebuilt saved": f"prebuilt, {SAVER}"}
        rows.append(versus(f"{name}: LangGraph's prebuilt agent", "nodes/s", rates, peers, least=3, aim=5))
        peers = {BARE: BARE, SAVER: SAVER}
        rows.append(versus(f"{name}: the same two nodes in both", "nodes/s", rates, peers, least=3, aim=5))
    return rows


async def _react_rates(calls: int, options: Options) -> Rates:
    from langchain_core.messages import HumanMessage

    ours = engine_graphs.react(engine_graphs.treadle_kit(), calls)
    theirs = engine_graphs.react(engine_graphs.langgraph_kit(), calls)
    unsaved = {BARE: theirs.compile(), "prebuilt": engine_graphs.prebuilt_react(calls, None)}
    fresh = _Fresh(
        lambda saver: {
            SAVER: theirs.compile(checkpointer=saver),
            "prebuilt saved": engine_graphs.prebuilt_react(calls, saver),
        }
    )
    state: Any = {"messages": [{"role": "user", "content": "hi?"}]}

    async def treadle() -> None:
        result = await fresh.orchestrator.execute(ours, state)
        assert len(result["messages"]) == 2 * calls + 2

    def peer(name: str) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            given = {"messages": [HumanMessage("hi?")]} if name.startswith("prebuilt") else state
            graph = unsaved.get(name) or fresh.graphs[name]
            result = await graph.ainvoke(given, thread(), **({} if name in unsaved else {"durability": "sync"}))
            assert len(result["messages"]) == 2 * calls + 2

        return call

    work: dict[str, Callable[[], Awaitable[None]]] = {"treadle": treadle}
    work |= {name: peer(name) for name in (*unsaved, SAVER, "prebuilt saved")}
    repeat, slices = (2, 2) if calls < 100 else (1, 1)  # its saver in memory takes seconds for 100 calls
    async with fresh:
        return await interleave(
            work, 2 * calls + 1, rounds=options.rounds, repeat=repeat, slices=slices, renew=fresh.renew
        )


async def wide_state(options: Options) -> list[Row]:
    rows = []
    shapes = {"sync nodes": (True, False), "sync nodes marked inline": (True, True), "async nodes": (False, False)}
    for how, (sync, inline) in shapes.items():
        bounds = (3.0, 5.0)
        name, shape = f"wide_state 25x300, {how}, in memory", _wide(sync, inline)
        row = _row(
            name, "nodes/s", shape, engine_graphs.ticket(5), 36, options, bounds,
            repeat=3, slices=2, has_sync_nodes=sync,
        )  # fmt: skip
        rows.append(await row)
    return rows


def _sized(shape: Callable[[engine_graphs.Kit, int], Any], count: int) -> Shape:
    return lambda kit: shape(kit, count)


def _wide(sync: bool, inline: bool) -> Shape:
    return lambda kit: engine_graphs.wide_state(kit, 300, sync=sync, inline=inline)


SECTIONS: dict[str, Callable[[Options], Awaitable[list[Row]]]] = {
    "sequential": sequential,
    "fan_out": fan_out,
    "fanout_to_subgraph": subgraphs,
    "react_agent": react,
    "wide_state": wide_state,
    "sqlite_one": lambda o: engine_disk.one_at_a_time(o.folder, o.rounds),
    "sqlite_100": lambda o: engine_disk.at_once(o.folder, o.rounds),
    "bytes": lambda o: engine_disk.bytes_on_disk(o.folder),
    "slow_sibling": lambda o: probes.slow_sibling(o.rounds),
    "updates": lambda o: probes.updates_at_once(o.folder),
    "kills": lambda o: asyncio.to_thread(engine_kill.kills, o.folder, o.kills),
    "waiting": lambda o: asyncio.to_thread(probes.waiting_memory, o.folder),
    "cpu_bound": lambda o: engine_cpu.two_at_once(o.rounds),
    "import": lambda o: asyncio.to_thread(probes.import_time, o.folder),
}
"""Name for --only -> what measures it."""


# -- printing ----------------------------------------------------------------------------------------------------------


def _about(options: Options, command: str, seconds: float) -> list[str]:
    packages = ("treadle", "langgraph", "langgraph-checkpoint", "langgraph-checkpoint-sqlite", "apsw", "msgspec")
    found = ", ".join(f"{name} {installed(name)}" for name in packages)
    return [
        f"`{command}`, {datetime.now(UTC).date()}, {options.rounds} rounds, {seconds:.0f} s",
        machine(options.folder or Path(os.environ.get("TMPDIR", "/tmp"))),
        found,
    ]


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each workload (default 5)")
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="measure this only (may be repeated)")
    parser.add_argument("--skip", action="append", choices=list(SECTIONS), default=[], help="leave this out")
    parser.add_argument("--kills", type=int, default=50, help="how often to kill -9 (default 50)")
    parser.add_argument("--dir", type=Path, default=None, help="make the databases here (default: temporary folder)")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio", help="event loop, for both sides")
    parser.add_argument("--json", action="store_true", help="print everything measured as JSON")
    parser.add_argument("--markdown", action="store_true", help="print a table for bench/RESULTS.md")
    return parser.parse_args(argv)


async def _run(names: list[str], options: Options, rows: list[Row]) -> None:
    """Measure section by section; what is measured so far stands in `rows`, whatever comes after."""
    for name in names:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.perf_counter()
        rows += await SECTIONS[name](options)
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    given = _options(argv)
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    options = Options(given.rounds, given.kills, given.dir)
    names = [name for name in (given.only or SECTIONS) if name not in given.skip]
    began = time.perf_counter()
    rows: list[Row] = []
    try:
        if given.loop == "uvloop":
            import uvloop

            uvloop.run(_run(names, options, rows))
        else:
            asyncio.run(_run(names, options, rows))
    except KeyboardInterrupt:
        print("interrupted; this is what was measured so far", file=sys.stderr)
    command = " ".join(["python -m bench engine", *argv])
    about = _about(options, command, time.perf_counter() - began)
    if given.json:
        print(json.dumps({"about": about, "rows": [{**dataclasses.asdict(r), "met": r.met()} for r in rows]}, indent=1))
    elif given.markdown:
        print("\n".join([*[f"- {line}" for line in about], "", as_markdown(rows, "LangGraph")]))
    else:
        print("\n".join([*about, "", as_text(rows, "LangGraph")]))
    return 0
