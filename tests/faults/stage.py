"""One fault is played here: a PostgreSQL server, worker processes, runs, and somebody outside who watches."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.faults import load
from tests.faults.audit import Audit, Line, Logs, audit, read_ledger, read_logs

from treadle.domain.events import TaskClaimed
from treadle.domain.task import RunStatus, TaskRow, TaskState
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions, WorkerSettings
from treadle.errors import Conflict, StoreUnavailable
from treadle.graph.build import Graph
from treadle.stores.postgres import PostgresStore
from treadle.testing.postgres import Server

ROOT = Path(__file__).parents[2]
LEASE = 2.0
"""Seconds; the shortest that `treadle worker` takes."""
DETECTION = LEASE + WorkerSettings().sweep_seconds
"""Seconds until a dead worker's tasks may be claimed again, at most."""
OPEN = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING})
PATIENCE = 120.0


class WorkerProcess:
    """A real worker, in a process group of its own."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT, env=env, start_new_session=True
            )
        self.name = ""

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    async def up(self) -> None:
        """Return once it takes tasks."""
        while " takes tasks of " not in self.said:
            assert self.process.poll() is None, f"a worker ended by itself: {self.said}"
            await asyncio.sleep(0.02)
        self.name = self.said.partition("Worker ")[2].partition(" takes")[0]

    def signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 60)


class Stage:
    """See `stage()`."""

    def __init__(self, server: Server, folder: Path, say: Callable[[str], None]) -> None:
        self.server = server
        self.folder = folder
        self.say = say
        self.schema = f"faults_{secrets.token_hex(4)}"
        self.url = f"{server.dsn()}&schema={self.schema}&pool_size=3"
        """Where workers find the store."""
        self.ledger = folder / "ledger"
        self.store = PostgresStore(server.dsn(), schema=self.schema, pool_size=3, patience_seconds=PATIENCE)
        settings = WorkerSettings(capacity=0, serve=False, heartbeat=False)
        self.outside = Orchestrator(self.store, settings=settings)
        self.workers: list[WorkerProcess] = []
        self.accepted: list[str] = []
        self.may_fail: dict[str, str] = {}
        """Words in the error of a run that may fail, by run id."""
        self.done: Counter[str] = Counter()
        """What was done, how often."""
        self.recovered: list[float] = []
        """Seconds from a fault, or its end, until what it had hit went on."""
        self._seen: Logs = {}
        self._numbers = itertools.count(1)

    # -- workers ---------------------------------------------------------------------------------------------------

    async def start_workers(self, count: int = 1, *, capacity: int = 4, **how: Any) -> list[WorkerProcess]:
        """Start `treadle worker` so many times; returns once all of them take tasks. `how`: see `spawn`."""
        arguments = [
            "-m", "treadle", "worker", "--import", str(Path(load.__file__)), "--capacity", str(capacity),
            "--lease", f"{LEASE:g}", "--store", how.pop("url", self.url),
        ]  # fmt: skip
        made = [self.spawn(arguments, **how) for _ in range(count)]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(worker.up() for worker in made))
        return made

    def spawn(self, arguments: Sequence[str], *, prefix: Sequence[str] = (), **env: str) -> WorkerProcess:
        """Start a process of Python, under the command `prefix` and with more environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "XDG_"))}
        paths = [env.pop("PYTHONPATH", ""), str(ROOT / "src"), str(ROOT)]
        kept |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HOME": str(self.folder)}
        kept |= {load.LEDGER: str(self.ledger), **env}
        log = self.folder / f"worker{next(self._numbers)}.log"
        self.workers.append(WorkerProcess([*prefix, sys.executable, *arguments], log, kept))
        return self.workers[-1]

    # -- runs ------------------------------------------------------------------------------------------------------

    async def submit(self, graph: Graph, count: int = 1, **state: Any) -> list[str]:
        """Start so many runs; nothing of them runs in this process."""
        runs = [f"{graph.name}-{next(self._numbers)}" for _ in range(count)]
        budgets = {"tokens": load.BUDGET}
        initial = {"log": [], "works": [], **state} if graph is load.JOURNEY else state
        for some in (runs[at : at + 50] for at in range(0, count, 50)):
            options = [RunOptions(run_id=run, budgets=budgets) for run in some]
            await asyncio.gather(*(self._start(graph, initial, each) for each in options))
            self.accepted += some
        return runs

    async def _start(self, graph: Graph, state: Any, options: RunOptions) -> None:
        """Start a run, however long the store is away."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                await self.outside.start(graph, state, options=options)
            except Conflict:
                return  # it was made, and the answer was lost
            except StoreUnavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.1)
            else:
                return

    async def _keep_busy(self, runs: int, pace: float, enough: asyncio.Event) -> None:
        while not enough.is_set():
            going = len(await self.store.runs(prefix="journey-", status=OPEN, limit=runs))
            if going < runs:
                await self.submit(load.JOURNEY, runs - going, pace=pace)
            await asyncio.sleep(0.05)

    @asynccontextmanager
    async def busy(self, runs: int, pace: float = 0.01) -> AsyncIterator[None]:
        """So many journeys go on all the time in here."""
        await self.submit(load.JOURNEY, runs, pace=pace)
        enough = asyncio.Event()
        submitting = asyncio.ensure_future(self._keep_busy(runs, pace, enough))
        try:
            yield
        finally:
            enough.set()
            await submitting

    async def until(self, what: str, holds: Callable[[], Any], *, seconds: float = PATIENCE) -> float:
        """Wait until something is so; returns how long it took. Raises AssertionError."""
        began = time.monotonic()
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return time.monotonic() - began
            assert time.monotonic() - began < seconds, f"not after {seconds:g} s: {what}. {self.tails()}"
            await asyncio.sleep(0.02)

    async def all_ended(self, seconds: float = PATIENCE) -> float:
        """Wait until no run goes on; returns how long it took."""

        async def over() -> bool:
            return not await self.store.runs(status=OPEN, limit=1)

        return await self.until("every run ended", over, seconds=seconds)

    async def witness(self) -> None:
        """Read all logs now: nothing that is in them may ever be gone."""
        self._seen = await read_logs(self.store, self.accepted)

    def lines(self, kind: str = "", run_id: str = "") -> list[Line]:
        """Of the ledger."""
        return [line for line in read_ledger(self.ledger) if kind in ("", line.kind) and run_id in ("", line.run_id)]

    # -- recovery --------------------------------------------------------------------------------------------------

    async def held_by(self, worker: WorkerProcess) -> list[TaskRow]:
        """Tasks leased to a worker."""
        open_runs = await self.store.runs(status=OPEN, limit=10_000)
        tasks = [task for row in open_runs for task in await self.store.tasks(row.run_id)]
        return [task for task in tasks if task.state is TaskState.LEASED and task.worker == worker.name]

    async def taken_over(self, held: Iterable[TaskRow], since: float) -> float:
        """Wait until each of these tasks has been claimed under a newer lease; returns the longest, in seconds."""
        longest = 0.0
        for task in held:
            found: list[float] = []

            async def claimed(task: TaskRow = task, found: list[float] = found) -> bool:
                found[:] = [
                    event.at
                    for event in await self.store.events(task.run_id)
                    if event.activation == task.activation
                    and isinstance(event.payload, TaskClaimed)
                    and event.payload.lease_seq > task.lease_seq
                ]
                return bool(found)

            await self.until(f"{task.run_id} {task.activation} is taken over", claimed)
            longest = max(longest, found[0] - since)
        return longest

    # -- the end ---------------------------------------------------------------------------------------------------

    async def audit(self) -> Audit:
        """Check every promise about every run."""
        graphs = {compiled.pin: compiled for compiled in (graph.compile() for graph in load.GRAPHS)}
        return await audit(self.store, graphs, self.accepted, self.ledger, self._seen, self.may_fail)

    def tails(self) -> str:
        """The last words of the workers."""
        return "\n".join(f"-- {worker.log.name} --\n{worker.said[-1500:]}" for worker in self.workers)

    def broken(self) -> list[str]:
        """What workers said of errors that nobody should see, whatever the fault."""
        return [f"{worker.log.name}: {worker.said[-1500:]}" for worker in self.workers if "Traceback" in worker.said]

    async def close(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()
        await self.outside.close()


@asynccontextmanager
async def stage(server: Server, say: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Set up; at the end every process is gone."""
    with tempfile.TemporaryDirectory(prefix="treadle-faults-") as folder:
        made = Stage(server, Path(folder), say)
        try:
            await made.outside.__aenter__()
            yield made
        finally:
            await made.close()
