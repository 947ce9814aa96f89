"""The engine, its workers and a store under a seeded scheduler, in virtual time, with everything going wrong.

One seed is one world: random graphs whose nodes fail, ask, sleep, spend and must not repeat themselves; processes that
die between any two calls of the store; calls that are lost, delivered twice, or whose answers are lost; leases that
lapse while their holders work on; and somebody outside who pauses, answers, changes, retries and cancels. In some
worlds the work is divided: some processes only plan, some know functions and no graph, and nodes are offered from one
to another.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Literal
from unittest import mock

import msgspec
from tests.simulation.invariants import BUDGET, MUST_SUCCEED, Invariants, Violation, check

from treadle.domain.events import (
    NodeFailed,
    encode_payload,
)
from treadle.domain.policy import RetryPolicy
from treadle.domain.task import RunRow, RunStatus
from treadle.engine import commit as commit_module
from treadle.engine import context as context_module
from treadle.engine import elsewhere as elsewhere_module
from treadle.engine import worker as worker_module
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import RunOptions, Where, WorkerSettings
from treadle.errors import Conflict, EffectInterrupted, NotFound, TreadleError
from treadle.stores.memory import MemoryStore
from treadle.testing.faults import FaultyStore, unavailable
from treadle.testing.random_graphs import build, choice, predict, random_block
from treadle.testing.virtual_time import VirtualLoop

LEASE = 10.0
TROUBLE_SECONDS = 90.0
"""So long things go wrong; after that the run must come to its end."""
PATIENCE = 3_000.0
LARGEST = 150
"""Nodes run in one run, at most."""


Kind = Literal["all", "planner", "functions", "half"]
"""Of a process: it runs all; only plans; knows functions and no graph; knows graphs and half of the functions."""
WHERE: dict[Kind, Where] = {"all": "here", "planner": "elsewhere", "functions": "known", "half": "known"}


class Transient(Exception):
    """What a node raises on purpose."""


class Clock:
    """The loop's time, and now and then a jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.skew = 0.0

    def now(self) -> float:
        return self.loop.now() + self.skew


class EngineTime:
    """Stands for the module `time` inside the engine."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = self.perf_counter = loop.time
        self.time = loop.now


class Process:
    """A worker with a store of its own, that may die at any call."""

    def __init__(self, world: World, number: int, kind: Kind) -> None:
        self.world = world
        self.kind: Kind = kind
        self.dead = False
        settings = WorkerSettings(
            capacity=world.random.choice([1, 2, 5, 100]),
            lease_seconds=LEASE,
            heartbeat=False,
            max_deaths=world.max_deaths,
            where=WHERE[kind],
        )
        store: Any = FaultyStore(world.store, self.fault)
        self.orchestrator = Orchestrator(store, world.functions(kind), settings=settings)
        self.orchestrator.worker.name = f"w{number}"
        self.orchestrator.worker._chance = world.random.random
        for run in world.runs if kind != "functions" else ():
            self.orchestrator.add_graph(run.graph)

    async def fault(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if name == "wait":
            return await call()
        world = self.world
        await self.breathe(world.distance)
        roll = world.roll()
        if roll < 0.006:
            await self.die()
        if roll < 0.012:
            raise unavailable(name)
        answer = await call()
        if name in ("commit", "record", "reserve", "release") and world.roll() < 0.03:
            if name != "reserve" or world.late_bookings:
                world.later(call)
            else:
                await call()
        roll = world.roll()
        if roll < 0.008:
            raise unavailable(name)
        if roll < 0.014:
            await self.die()
        await self.breathe(world.distance)
        return answer

    async def breathe(self, longest: float) -> None:
        """A moment in which others may do something, or this process may turn out to be dead."""
        random = self.world.random
        if random.random() < 0.7:
            await asyncio.sleep(random.random() * longest if random.random() < 0.7 else 0)
        if self.dead:
            await self.world.limbo()

    async def die(self) -> None:
        if not self.dead:
            self.dead = True
            self.world.replace(self)
        await self.world.limbo()


class Run:
    """One run of the world, and what is known of it from outside the engine."""

    def __init__(self, world: World, run_id: str, size: int) -> None:
        self.world = world
        self.run_id = run_id
        self.seed = world.random.randrange(1 << 30)
        self.block = random_block(world.random, size)
        while (expected := predict(self.block, seed=self.seed)).total() > LARGEST:
            self.block = random_block(world.random, size)
        self.graph = build(self.block, name=f"graph-{run_id}", seed=self.seed, wrap=self.wrap).compile()
        self.expected = expected
        self.effects: Counter[str] = Counter()
        """How often an effect that must not be repeated has happened."""
        self.entered: Counter[str] = Counter()
        """How often a node that must not be repeated was entered."""
        self.cancelled = False
        self.retries = 0

    def wrap(self, name: str, base: Callable[..., Any]) -> Callable[..., Any]:
        """Give a node something to go wrong with, the same on every entry."""
        kinds = ("plain", "plain", "flaky", "pay", "spend", "ask", "nap", "once", "slow", "steps")
        kind = kinds[choice(self.seed, f"kind {name}", Counter(), len(kinds))]

        async def node(state: Any, ctx: Any) -> Any:
            process = self.world.processes[ctx._worker.name]
            await process.breathe(self.world.pace)
            await getattr(self, f"_{kind}")(process, ctx)
            await process.breathe(self.world.pace)
            return base(state)

        settings: dict[str, Any] = {"retry": RetryPolicy(max_attempts=4, initial_seconds=0.5)}
        if kind == "once":
            settings = {"effects": "at_most_once"}
        if self.world.divided and choice(self.seed, f"where {name}", Counter(), 3):
            settings["node_type"] = f"{self.run_id} {name}"
            self.world.registry.register(settings["node_type"], node)
            node.elsewhere = True  # type: ignore[attr-defined]
        node.settings = settings  # type: ignore[attr-defined]
        return node

    async def _plain(self, process: Process, ctx: Any) -> None:
        """Nothing goes wrong that the store and the scheduler do not bring about."""

    async def _flaky(self, process: Process, ctx: Any) -> None:
        if ctx.attempt <= choice(self.seed, f"flaky {ctx.activation}", Counter(), 4):
            raise Transient(f"attempt {ctx.attempt}")

    async def _slow(self, process: Process, ctx: Any) -> None:
        await asyncio.sleep(self.world.random.choice([1.0, LEASE + 2.0]) if self.world.troubled else 1.0)
        await process.breathe(self.world.pace)

    async def _once(self, process: Process, ctx: Any) -> None:
        self.entered[ctx.activation] += 1

    async def _pay(self, process: Process, ctx: Any) -> None:
        async def pay() -> str:
            await process.breathe(self.world.pace)
            self.effects[ctx.activation] += 1
            await process.breathe(self.world.pace)
            return "paid"

        try:
            await ctx.step("pay", pay, effects="at_most_once", request="please")
        except EffectInterrupted:
            pass  # it may have happened; going on without it is what such a node does

    async def _spend(self, process: Process, ctx: Any) -> None:
        async def call() -> float:
            await process.breathe(self.world.pace)
            if self.world.roll() < 0.1:
                raise Transient("the model is away")
            return 1.0

        await ctx.step("call", call, reserve={"tokens": 2.0}, settle=lambda used: {"tokens": used})

    async def _ask(self, process: Process, ctx: Any) -> None:
        for number in range(2):
            check(ctx.interrupt(number) == f"answer {number}", "an answer went to another question")

    async def _nap(self, process: Process, ctx: Any) -> None:
        await ctx.sleep(5.0)

    async def _steps(self, process: Process, ctx: Any) -> None:
        for number in range(3):
            key = f"{ctx.activation} {number}"

            async def step(key: str = key) -> str:
                await process.breathe(self.world.pace)
                return f"{key} by {process.orchestrator.worker.name} {self.world.random.random()}"

            first = await ctx.step(str(number), step)
            known = self.world.recorded.setdefault((self.run_id, key), first)
            check(known == first, f"step {key!r} gave two results")


class World:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.clock = Clock(self.loop)
        self.store = MemoryStore(self.clock)
        self.pace = self.random.choice([0.0, 0.1, 1.0, 8.0])
        """How long nodes take, at most, for one thing."""
        self.distance = self.random.choice([0.0, 0.05, 0.3, 1.0])
        """How long a call of the store is on its way, at most, and its answer."""
        self.tick = self.random.choice([0.2, 4.0])
        """How often somebody outside looks at the runs, and perhaps does something to them."""
        self.busy = self.random.choice([0.03, 0.25])
        """How likely it is then that the state is changed."""
        self.max_deaths = self.random.choice([3, 1000, 1000])
        self.late_bookings = self.random.random() < 0.5
        """Whether a reservation may arrive once more after its call is over; then it may stay behind for a while."""
        self.divided = self.random.random() < 0.3
        """Whether nodes are offered to other processes than those that plan."""
        self.registry = NodeRegistry()
        """Functions of nodes that come without."""
        self.invariants = Invariants(self.store, self.late_bookings)
        self.processes: dict[str, Process] = {}
        self.recorded: dict[tuple[str, str], str] = {}
        self.runs: list[Run] = []
        self.broken: list[BaseException] = []
        self.lost: list[asyncio.Future[None]] = []
        self.runs = [
            Run(self, f"r{n}", self.random.choice([4, 12, 30, 45])) for n in range(self.random.choice([1, 1, 2]))
        ]

    @property
    def troubled(self) -> bool:
        return self.loop.time() < TROUBLE_SECONDS

    def roll(self) -> float:
        """A number below 1 while things go wrong; afterwards nothing does."""
        return self.random.random() if self.troubled else 1.0

    def functions(self, kind: Kind) -> NodeRegistry | None:
        """What a process of this kind knows."""
        known = [] if kind == "planner" else list(self.registry)
        if kind == "half":
            known = [name for name in known if self.random.random() < 0.5]
        return self.registry.only(known)

    def crew(self) -> list[Kind]:
        """Processes at the beginning; whoever dies is replaced by one of its kind."""
        count = self.random.randint(1, 4)
        if not self.divided:
            return ["all"] * count
        kinds: list[Kind] = ["planner", "functions", "half", "all"]
        return ["planner", "functions", "half", *self.random.sample(kinds, count - 1)]

    async def limbo(self) -> None:
        """Where the coroutines of dead processes stay."""
        self.lost.append(self.loop.create_future())
        await self.lost[-1]

    def later(self, call: Callable[[], Awaitable[Any]]) -> None:
        """Deliver a call once more, after a while."""

        async def again() -> None:
            await asyncio.sleep(self.random.random() * 3)
            try:
                await call()
            except TreadleError:
                pass  # whoever made it first has had its answer

        self._keep(again())

    def replace(self, process: Process) -> None:
        async def start() -> None:
            await asyncio.sleep(self.random.random() * 20)
            await self.start_process(process.kind)

        self._keep(start())

    def _keep(self, work: Any) -> None:
        task = self.loop.create_task(work)
        task.add_done_callback(
            lambda done: done.cancelled() or (done.exception() and self.broken.append(done.exception()))
        )

    async def start_process(self, kind: Kind) -> Process:
        process = Process(self, len(self.processes) + 1, kind)
        self.processes[process.orchestrator.worker.name] = process
        await process.orchestrator.worker.start()
        return process

    # -- what happens ----------------------------------------------------------------------------------------------

    def play(self) -> str:
        """Live through it; returns a digest of all that was logged. Raises Violation."""
        asyncio.set_event_loop(self.loop)
        try:
            time = EngineTime(self.loop)
            with (
                mock.patch.object(worker_module, "time", time),
                mock.patch.multiple(context_module, time=time),
                mock.patch.multiple(commit_module, time=time),
                mock.patch.multiple(elsewhere_module, time=time),
            ):
                return self.loop.run(self._play())
        finally:
            asyncio.set_event_loop(None)

    async def _play(self) -> str:
        for kind in self.crew():
            await self.start_process(kind)
        outside = Orchestrator(
            self.store, self.registry, settings=WorkerSettings(capacity=0, serve=False, heartbeat=False)
        )
        for run in self.runs:
            outside.add_graph(run.graph)
        for run in self.runs:
            self._keep(self._start(run))
        while not await self._over():
            if self.loop.time() > PATIENCE:
                raise Violation(f"not over after {PATIENCE:g} s: {await self._where()}")
            await asyncio.sleep(self.random.random() * self.tick)
            if self.troubled and self.random.random() < 0.015 * self.tick:
                self.clock.skew += LEASE * 1.5  # all leases lapse at once, whoever is at work
            await self.store.sweep(max_attempts=self.max_deaths)
            for run in self.runs:
                await self._meddle(run, outside)
                if self.random.random() < self.tick / 5:
                    await self.invariants.now(run)
            if self.broken:
                raise self.broken[0]
        for run in self.runs:
            await self.invariants.now(run)
            await self.invariants.at_the_end(run)
        return await self._digest()

    async def _start(self, run: Run) -> None:
        options = RunOptions(run_id=run.run_id, budgets={"tokens": BUDGET})
        while True:
            alive = [p for p in self.processes.values() if not p.dead and p.kind != "functions"]
            process = self.random.choice(alive or [await self.start_process("half" if self.divided else "all")])
            starting = asyncio.ensure_future(process.orchestrator.start(run.graph, {}, options=options))
            await asyncio.wait([starting], timeout=5.0)
            try:
                if starting.done():
                    starting.result()
                    return
            except Conflict:
                return
            except TreadleError:
                pass
            try:
                await self.store.run(run.run_id)
            except NotFound:
                continue
            return

    async def _over(self) -> bool:
        for run in self.runs:
            try:
                row = await self.store.run(run.run_id)
            except NotFound:
                return False
            if row.status not in MUST_SUCCEED:
                return False
        return True

    async def _where(self) -> str:
        rows = [await self.store.run(run.run_id) for run in self.runs]
        tasks = [
            (task.activation, task.state.value, task.worker, task.error)
            for run in self.runs
            for task in await self.store.tasks(run.run_id)
        ]
        return f"{[(row.run_id, row.status.value, row.paused, row.error) for row in rows]} {tasks}"

    async def _meddle(self, run: Run, outside: Orchestrator) -> None:
        """What people do to a run."""
        try:
            row = await self.store.run(run.run_id)
        except NotFound:
            return
        try:
            await self._act(run, row, outside)
        except (Conflict, NotFound):
            pass  # it moved on meanwhile

    async def _act(self, run: Run, row: RunRow, outside: Orchestrator) -> None:
        roll = self.roll()
        if row.status is RunStatus.ERROR:
            run.retries += 1
            await outside.retry(run.run_id)
        elif row.status.ended:
            return
        elif row.paused:
            if roll > 0.2:
                await outside.resume(run.run_id)
        elif roll < 0.01:
            await outside.pause(run.run_id)
        elif roll < 0.01 + self.busy:
            expected = self.random.choice([None, row.version, row.version - 1])
            await outside.update_state(run.run_id, {"note": row.version}, expected_version=expected)
        elif roll < 0.012 + self.busy:
            await outside.cancel(run.run_id)
            run.cancelled = True
        else:
            for question in await outside.interrupts(run.run_id):
                if question.value is not None and self.random.random() < 0.8:
                    answer = f"answer {question.value}"
                    await outside.answer(run.run_id, answer, interrupt=question.activation)

    async def _digest(self) -> str:
        text = hashlib.sha256()
        for run in self.runs:
            for event in await self.store.events(run.run_id):
                payload = event.payload
                if isinstance(payload, NodeFailed):
                    payload = msgspec.structs.replace(payload, trace="")
                said = f"{event.seq} {event.at} {event.activation} {event.type} ".encode() + encode_payload(payload)
                text.update(said + b"\n")
        return text.hexdigest()


def play(seed: int) -> str:
    """Live through one seed. Raises Violation, with the seed in its message."""
    log = logging.getLogger("treadle")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        return World(seed).play()
    except Exception as error:
        error.add_note(f"Replay it with: python -m tests.simulation.nightly --seed {seed}")
        raise
    finally:
        log.setLevel(level)
