"""Probes: how the engine behaves where LangGraph's users were hurt. Each returns rows of the table in engine.py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from bench.engine_disk import async_saver, scratch, thread
from bench.engine_graphs import Conversation, Kit, langgraph_kit, treadle_kit
from bench.engine_measure import Row, median
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.signals import interrupt
from treadle.errors import Conflict
from treadle.graph.build import Graph
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore


class Nothing(TypedDict, total=False):
    done: bool


# -- a slow sibling ----------------------------------------------------------------------------------------------------


def _barrier(kit: Kit, started: dict[str, float]) -> Any:
    async def fast(state: Any) -> None:
        await asyncio.sleep(0.1)

    async def slow(state: Any) -> None:
        await asyncio.sleep(1.0)

    async def after(state: Any) -> None:
        started["after"] = time.perf_counter()

    graph = kit.graph(Nothing, "barrier")
    for name, node in (("fast", fast), ("slow", slow), ("after", after)):
        graph.add_node(name, node)
    graph.add_edge(kit.start, "fast")
    graph.add_edge(kit.start, "slow")
    graph.add_edge("fast", "after")
    graph.add_edge("after", kit.end)
    graph.add_edge("slow", kit.end)
    return graph


async def slow_sibling(rounds: int) -> list[Row]:
    """START -> {fast 0.1 s, slow 1 s}, fast -> after: when `after` begins."""
    seen: dict[str, float] = {}
    ours, theirs = _barrier(treadle_kit(), seen), _barrier(langgraph_kit(), seen).compile()
    taken: dict[str, list[float]] = {"treadle": [], "peer": []}
    async with Orchestrator(MemoryStore()) as orchestrator:
        for _ in range(rounds):
            began = time.perf_counter()
            await orchestrator.execute(ours, {})
            taken["treadle"].append(seen["after"] - began)
            began = time.perf_counter()
            await theirs.ainvoke({"done": False})
            taken["peer"].append(seen["after"] - began)
    value = median(taken["treadle"])
    return [
        Row("START -> {0.1 s, 1 s}, 0.1 s -> after: start of `after`", "s", value, median(taken["peer"]), value, "s",
            0.12, 0.105, "less", spread=(min(taken["treadle"]), max(taken["treadle"])), raw=taken)
    ]  # fmt: skip


# -- changes from outside at the same time -----------------------------------------------------------------------------


def _asking(kit: Kit, ask: Callable[[Any], Any]) -> Any:
    async def node(state: Any) -> dict[str, Any]:
        return {"messages": [ask("go on?")]}

    graph = kit.graph(Conversation, "asking")
    graph.add_node("ask", node)
    graph.add_edge(kit.start, "ask")
    graph.add_edge("ask", kit.end)
    return graph


async def _ours_at_once(path: Path, count: int) -> dict[str, int]:
    """Each update comes over a store connection of its own, as from another process."""
    graph = _asking(treadle_kit(), interrupt)
    outside = [Orchestrator(SqliteStore(path)) for _ in range(count)]
    async with Orchestrator(SqliteStore(path)) as orchestrator:
        run = (await orchestrator.execute(graph, {"messages": []})).run_id
        version = (await orchestrator.status(run)).version
        for other in outside:
            other.add_graph(graph)
        found = await asyncio.gather(
            *[
                other.update_state(run, {"messages": [number]}, expected_version=version)
                for number, other in enumerate(outside)
            ],
            return_exceptions=True,
        )
        kept = len((await orchestrator.state_at(run))["messages"])
        for other in outside:
            await other.close()
    done = sum(not isinstance(result, BaseException) for result in found)
    refused = sum(isinstance(result, Conflict) for result in found)
    return {"done": done, "told": refused, "other": count - done - refused, "lost": done - kept}


async def _theirs_at_once(path: Path, count: int, how: str) -> dict[str, int]:
    from langgraph.types import interrupt as ask

    async with async_saver(path) as saver:
        graph = _asking(langgraph_kit(), ask).compile(checkpointer=saver)
        config = thread()
        await graph.ainvoke({"messages": []}, config, durability="sync")
        if how == "aupdate_state":
            calls = [graph.aupdate_state(config, {"messages": [number]}, as_node="ask") for number in range(count)]
        else:
            calls = [graph.ainvoke({"messages": [n]}, config, durability="sync") for n in range(count)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        kept = len((await graph.aget_state(config)).values["messages"])
    done = sum(not isinstance(result, BaseException) for result in found)
    return {"done": done, "told": count - done, "other": 0, "lost": done - kept}


def _said(found: dict[str, int]) -> str:
    text = f"{found['done']} done, {found['told']} told, {found['lost']} lost"
    return text + (f", {found['other']} OTHER" if found["other"] else "")


async def updates_at_once(folder: Path | None, count: int = 10) -> list[Row]:
    """Ten changes of one run's state from outside, all naming the version that they saw."""
    with scratch(folder) as at:
        ours = await _ours_at_once(at / "treadle.db", count)
        updates = await _theirs_at_once(at / "update.db", count, "aupdate_state")
        invokes = await _theirs_at_once(at / "invoke.db", count, "ainvoke")
    wrong = ours["lost"] + ours["other"] + abs(ours["done"] - 1)
    return [
        Row(f"{count} `update_state` from outside on one run, same version", "", _said(ours), _said(updates), wrong,
            "lost or not told", 0, 0, "less", others={"LangGraph, ten ainvoke on one thread": _said(invokes)})
    ]  # fmt: skip


# -- memory of runs that wait: in a process of its own -----------------------------------------------------------------


def _sleeping() -> Graph:
    async def node(state: Any, ctx: Any) -> None:
        await ctx.sleep(86_400)

    return Graph("sleeping", state=Nothing).add_node("nap", node).set_entry_point("nap").set_finish_point("nap")


async def _waiting_child(kind: str, path: str, count: int) -> dict[str, float]:
    graph = _sleeping() if kind == "sleep" else _asking(treadle_kit(), interrupt)
    state: Any = {} if kind == "sleep" else {"messages": []}
    async with Orchestrator(SqliteStore(path)) as orchestrator:
        await _start_waiting(orchestrator, graph, state, 500)
        before = _resident()
        began = time.perf_counter()
        await _start_waiting(orchestrator, graph, state, count)
        seconds = time.perf_counter() - began
        peak, kept = _resident(), _kept_objects()
        return {"kB": (peak - before) / count, "seconds": seconds, "objects": kept / count}


async def _start_waiting(orchestrator: Orchestrator, graph: Any, state: Any, count: int) -> None:
    """A hundred at a time, until all wait; a run that sleeps is running, with its task waiting."""
    last: list[str] = []
    for _ in range(count // 100):
        last = await asyncio.gather(*[orchestrator.start(graph, state) for _ in range(100)])
    for run in last:
        while True:
            tasks = await orchestrator.store.tasks(run)
            if all(task.state == "waiting" for task in tasks):
                break
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)


async def _waiting_peer_child(path: str, count: int) -> dict[str, float]:
    from langgraph.types import interrupt as ask

    async with async_saver(Path(path)) as saver:
        graph = _asking(langgraph_kit(), ask).compile(checkpointer=saver)

        async def start(many: int) -> None:
            for _ in range(many // 100):
                await asyncio.gather(
                    *[graph.ainvoke({"messages": []}, thread(), durability="sync") for _ in range(100)]
                )

        await start(500)
        before = _resident()
        began = time.perf_counter()
        await start(count)
        seconds = time.perf_counter() - began
        return {"kB": (_resident() - before) / count, "seconds": seconds, "objects": 0.0}


def _resident() -> float:
    """Memory of this process in kB, after a garbage collection."""
    import gc

    gc.collect()
    text = Path("/proc/self/status").read_text()
    return float(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def _kept_objects() -> int:
    import gc

    return len(gc.get_objects())


def _child(*args: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.probes", *args], capture_output=True, text=True, check=False, timeout=240
    )
    if done.returncode:
        raise RuntimeError(f"bench.probes {' '.join(args)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def waiting_memory(folder: Path | None, count: int = 10_000, peers: int = 1_000) -> list[Row]:
    """What a run that waits takes in the process that started it, on SQLite (growth of resident memory per run)."""
    with scratch(folder) as at:
        peer = _child("waiting-peer", str(at / "peer.db"), str(peers))
        rows = []
        for kind in ("interrupt", "sleep"):
            ours = _child("waiting", kind, str(at / f"{kind}.db"), str(count))
            rows.append(
                Row(f"memory per run waiting on {'an' if kind == 'interrupt' else 'a'} {kind}, {count:,} runs", "kB",
                    ours["kB"], peer["kB"] if kind == "interrupt" else None, ours["kB"], "kB", 4, 2, "less",
                    others={"runs started/s": count / ours["seconds"], "LangGraph runs/s": peers / peer["seconds"],
                            "LangGraph runs": peers})
            )  # fmt: skip
    return rows


# -- import time -------------------------------------------------------------------------------------------------------

FACADE = "import treadle"
IN_USE = "from treadle import Graph, Orchestrator, State, START, END, Send, Command, interrupt"
PEER = "from langgraph.graph import StateGraph, START, END"


def import_time(folder: Path | None, tries: int = 9) -> list[Row]:
    """Milliseconds that an import adds to a bare interpreter: the best of several processes, taking turns.

    All modules are byte-compiled beforehand, as an installed package is.
    """
    codes = {"bare": "pass", "asyncio": "import asyncio", "facade": FACADE, "use": IN_USE, "peer": PEER}
    taken: dict[str, list[float]] = {name: [] for name in codes}
    with scratch(folder) as at:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": str(at)}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(tries + 1):
            for name, code in codes.items():
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", code], check=True, env=env)
                if number:
                    taken[name].append(1000 * (time.perf_counter() - began))
    quickest = {name: min(values) - min(taken["bare"]) for name, values in taken.items()}
    others: dict[str, float | str] = {"bare interpreter": min(taken["bare"]), "asyncio alone": quickest["asyncio"]}
    return [
        Row(f"import time: `{code}`", "ms", quickest[name], quickest["peer"], quickest[name], "ms", 80, 50, "less",
            others=others)
        for name, code in (("facade", FACADE), ("use", "from treadle import Graph, Orchestrator, ..."))
    ]  # fmt: skip


def main(argv: list[str]) -> None:
    """Run one child of a probe; prints JSON."""
    name, *rest = argv
    if name == "waiting":
        found = asyncio.run(_waiting_child(rest[0], rest[1], int(rest[2])))
    else:
        found = asyncio.run(_waiting_peer_child(rest[0], int(rest[1])))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
