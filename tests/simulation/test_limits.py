"""Limits of queues hold whatever workers do, and nothing is held back for ever: worlds that Hypothesis makes up."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.events import TaskClaimed
from treadle.domain.limit import Limit
from treadle.domain.task import Claim, NewTask, TaskState
from treadle.ports.store import Store, TaskMove
from treadle.stores.memory import MemoryStore
from treadle.stores.sqlite import SqliteStore
from treadle.testing.clock import FakeClock
from treadle.testing.samples import LEASE, claim, commit_one, new_run, new_task, outcome

QUEUES = ("default", "mail")
LIMIT = Limit("mail", concurrency=3, per_key=2, rate=5, rate_seconds=7.0)
KINDS = (
    "create",
    "claim",
    "claim",
    "claim",
    "finish",
    "finish",
    "again",
    "later",
    "release",
    "die",
    "zombie",
    "pass",
    "sweep",
)
WORLDS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 59)), max_size=60)


def mail(name: str, n: int) -> NewTask:
    key = f"k{n % 3}" if n % 4 else None
    return new_task(name, queue="mail" if n % 5 else "default", key=key, lease=bool(n % 2), priority=n % 3)


class World:
    """Workers that finish, give up, die and come back from the dead, on one store."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.held: list[tuple[str, Claim]] = []
        self.dead: list[tuple[str, Claim]] = []
        self.runs: list[str] = []
        self.made = 0
        self.limited: set[str] = set()
        """Activations of the limited queue."""

    def name(self) -> str:
        self.made += 1
        return f"a{self.made}"

    async def act(self, kind: str, n: int) -> None:
        worker = f"w{n % 3}"
        if kind == "create":
            self.runs.append(run_id := f"r{len(self.runs)}")
            tasks = [mail(self.name(), n + m) for m in range(4)]
            made = await self.store.create_run(new_run(run_id, *tasks, worker=worker))
            self.held += [(worker, one) for one in made.claims]
        elif kind == "claim":
            claims = await claim(self.store, worker, limit=n % 4 + 1, queues=QUEUES)
            self.held += [(worker, one) for one in claims]
        elif kind == "pass":
            self.clock.advance((0.5, 2.0, LEASE)[n % 3])
        elif kind == "sweep":
            await self.store.sweep(max_attempts=10_000)
        elif kind == "zombie" and self.dead:
            await self._commit(*self.dead[n % len(self.dead)], n, "finish")
        elif self.held:
            await self._end(*self.held.pop(n % len(self.held)), n, kind)

    async def _end(self, worker: str, task: Claim, n: int, kind: str) -> None:
        if kind == "die":
            self.dead.append((worker, task))
        elif kind == "release":
            await self.store.release(worker, {task.task_id: task.lease_seq}, died=bool(n % 2))
        else:
            await self._commit(worker, task, n, kind)

    async def _commit(self, worker: str, task: Claim, n: int, kind: str) -> None:
        move = {"again": TaskMove("ready"), "later": TaskMove("waiting", 1.5)}.get(kind, TaskMove("done"))
        tasks = [mail(self.name(), n)] if kind == "finish" and n % 3 == 0 else []
        result = await commit_one(self.store, outcome(task, worker, move=move, tasks=tasks))
        self.held += [(worker, further) for further in result.claims]

    async def check(self) -> None:
        tasks = [task for run_id in self.runs for task in await self.store.tasks(run_id) if task.queue == "mail"]
        self.limited |= {task.activation for task in tasks}
        leased = [task for task in tasks if task.state is TaskState.LEASED]
        assert len(leased) <= (LIMIT.concurrency or 0)
        keys = Counter(task.key for task in leased if task.key is not None)
        assert max(keys.values(), default=0) <= (LIMIT.per_key or 0)
        [row] = await self.store.limits()
        assert row.held == len(leased)

    async def end(self) -> None:
        """All workers come back to their senses: everything is done in the end."""
        for _ in range(200):
            self.clock.advance(LEASE)
            await self.store.sweep(max_attempts=10_000)
            claims = await claim(self.store, "last", limit=50, queues=QUEUES)
            await self.check()
            for one in claims:
                await commit_one(self.store, outcome(one, "last"))
            if not claims and not [t for run_id in self.runs for t in await self.store.tasks(run_id)]:
                return
        raise AssertionError("something was held back for ever")

    async def starts(self) -> list[float]:
        """When tasks of the limited queue were begun, by the log."""
        events = [event for run_id in self.runs for event in await self.store.events(run_id)]
        return sorted(e.at for e in events if isinstance(e.payload, TaskClaimed) and e.activation in self.limited)


async def play(store: Store, clock: FakeClock, acts: list[tuple[str, int]]) -> None:
    await store.open()
    try:
        await store.set_limit(LIMIT)
        world = World(store, clock)
        seen: set[str] = set()
        for kind, n in [("create", 7), *acts]:
            await world.act(kind, n)
            await world.check()
            tasks = [task for run_id in world.runs for task in await store.tasks(run_id)]
            seen |= {task.activation for task in tasks if task.queue == "mail"}
        await world.end()
        world.limited = frozenset(seen)
        starts = await world.starts()
        assert LIMIT.rate is not None
        for first, later in zip(starts, starts[LIMIT.rate :], strict=False):
            assert later - first >= LIMIT.rate_seconds
    finally:
        await store.close()


@given(WORLDS)
@settings(max_examples=150, deadline=None)
def test_limits_hold_in_memory(acts: list[tuple[str, int]]) -> None:
    clock = FakeClock()
    asyncio.run(play(MemoryStore(clock), clock, acts))


@given(WORLDS)
@settings(max_examples=25, deadline=None)
def test_limits_hold_in_sqlite(acts: list[tuple[str, int]]) -> None:
    clock = FakeClock()
    with TemporaryDirectory() as folder:
        asyncio.run(play(SqliteStore(Path(folder) / "runs.db", clock=clock, synchronous="OFF"), clock, acts))
