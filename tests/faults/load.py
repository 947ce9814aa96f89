"""What workers are given to do while things go wrong: `treadle worker --import tests/faults/load.py`.

Every node writes to a ledger, an append-only file that knows nothing of Treadle: what was begun, and which effects took
place. `audit.py` holds it against the log.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import operator
import os
import time
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from treadle.engine.context import Context
from treadle.errors import EffectInterrupted
from treadle.graph.build import Graph
from treadle.graph.spec import END, START, Send

LEDGER = "FAULTS_LEDGER"
"""Environment: path of the ledger."""
RELEASE = "FAULTS_RELEASE"
"""Environment: which version of this code a worker runs; only `steady` and `changing` look at it."""
PARTS, LINKS = 3, 3
BUDGET = 100.0


class Journey(TypedDict, total=False):
    pace: float
    """Seconds that a node takes."""
    log: Annotated[list[str], operator.add]
    """Activations that finished."""
    works: Annotated[list[list[str]], operator.add]
    """(activation, what its journaled effect gave)."""
    part: int


def write(kind: str, ctx: Context, said: str = "") -> str:
    """Add a line to the ledger: whole, and on disk as far as the death of this process is concerned."""
    now = time.clock_gettime(time.CLOCK_REALTIME)  # a fault may jump `time.time` in this process
    line = f"{kind} {ctx.run_id} {ctx.activation} {now:.6f} {os.getpid()} {said}\n"
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)
    return said


async def node(state: Journey, ctx: Context) -> dict[str, Any]:
    """One idempotent effect, one that must not be repeated, one that costs; all journaled."""
    write("enter", ctx)
    work = await ctx.step("work", lambda: write("work", ctx, uuid4().hex))
    await asyncio.sleep(state.get("pace", 0.0))
    try:
        await ctx.step("pay", _paying(ctx), effects="at_most_once")
    except EffectInterrupted:
        pass  # it was in flight when something went wrong: whether it took place is for others to find out
    await ctx.step("call", lambda: write("call", ctx), reserve={"tokens": 3}, settle=lambda _: {"tokens": 1})
    return {"log": [ctx.activation], "works": [[ctx.activation, work]]}


def _paying(ctx: Context) -> Any:
    async def pay() -> str:
        said = write("pay", ctx, "paid")
        await asyncio.sleep(0.002)  # so that a kill finds it done and not recorded
        return said

    return pay


async def seal(state: Journey, ctx: Context) -> dict[str, Any]:
    """A node that runs at most once."""
    write("sealed", ctx)
    await asyncio.sleep(0.005)
    return {"log": [ctx.activation]}


def journey() -> Graph:
    """START -> {plan -> parts, side} -> merge -> a chain of links -> seal."""
    graph = Graph("journey", state=Journey)
    links = [f"link{number}" for number in range(LINKS)]
    for name in ("plan", "side", "part", "merge", *links):
        graph.add_node(name, node)
    graph.add_node("seal", seal, effects="at_most_once")
    graph.add_edge(START, "plan").add_edge(START, "side").add_edge("side", "merge").add_edge("part", "merge")
    graph.add_conditional_edge("plan", _parts, ["part"])
    for one, other in itertools.pairwise(["merge", *links, "seal", END]):
        graph.add_edge(one, other)
    return graph


def _parts(state: Journey) -> list[Send]:
    return [Send("part", {"part": number, "pace": state.get("pace", 0.0)}) for number in range(PARTS)]


NODES_OF_A_JOURNEY = 1 + PARTS + 1 + 1 + LINKS + 1


async def hold(state: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Work for a while and leave a trace of every moment, so that two at once would show."""
    write("enter", ctx)
    end = time.monotonic() + state["seconds"]
    while time.monotonic() < end:
        write("tick", ctx)
        await asyncio.sleep(0.02)
    return {"held": ctx.attempt}


async def stall(state: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Block the event loop: nothing of this worker runs but its heartbeat thread."""
    write("enter", ctx)
    time.sleep(state["seconds"])  # noqa: ASYNC251  # this is the fault
    return {"stalled": ctx.attempt}


async def freeze(state: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Block all threads, as a C extension does that keeps the interpreter lock. The second attempt does not."""
    write("enter", ctx)
    if ctx.attempt == 1:
        ctypes.PyDLL(None).usleep(int(state["seconds"] * 1e6))
    return {"froze": ctx.attempt}


async def poison(state: dict[str, Any], ctx: Context) -> None:
    """Take the whole worker along."""
    write("enter", ctx)
    os._exit(70)


async def fill(state: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Make the log grow, by something that cannot be compressed away."""
    write("enter", ctx)
    return {"bytes": os.urandom(state["size"] // 2).hex()}


async def sign(state: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Tell which release ran it."""
    write("enter", ctx, os.environ.get(RELEASE, "1"))
    await asyncio.sleep(state.get("pace", 0.0))
    return {f"by-{ctx.activation}": os.environ.get(RELEASE, "1")}


async def wait_in_line(state: dict[str, Any]) -> None:
    """What a backlog is made of."""


def line(name: str, function: Any, length: int = 1, **settings: Any) -> Graph:
    """A graph of one kind of node, one after the other."""
    graph = Graph(name)
    names = [name, *(f"{name}{number}" for number in range(2, length + 1))]
    for each in names:
        graph.add_node(each, function, **settings)
    for one, other in itertools.pairwise([START, *names, END]):
        graph.add_edge(one, other)
    return graph


def changing(release: str) -> Graph:
    """The same name in both releases, and another shape."""
    return line("changing", sign, 4 if release == "1" else 5)


JOURNEY = journey()
HOLD = line("hold", hold)
STALL = line("stall", stall)
FREEZE = line("freeze", freeze)
POISON = line("poison", poison)
FILL = line("fill", fill, 4)
STEADY = line("steady", sign, 4)
CHANGING = changing(os.environ.get(RELEASE, "1"))
BACKLOG = line("backlog", wait_in_line)
URGENT = line("urgent", sign, 4, priority=10)
GRAPHS = [JOURNEY, HOLD, STALL, FREEZE, POISON, FILL, STEADY, CHANGING, changing("2"), BACKLOG, URGENT]
