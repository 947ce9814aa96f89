"""The worker: claims tasks, runs them in slots, commits outcomes, and goes straight on with what was handed to it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from treadle.domain.events import TaskOffered
from treadle.domain.task import Claim, RunStatus, WorkerState
from treadle.engine import advance
from treadle.engine.advance import View
from treadle.engine.calls import Calls
from treadle.engine.commit import commit_surely
from treadle.engine.context import Context
from treadle.engine.elsewhere import INPUT, Places, Return, hand_over, key_of, last_return, refuse_repeat, run_offered
from treadle.engine.execute import Outcome, conclude
from treadle.engine.lease import Leases
from treadle.engine.listeners import Listeners
from treadle.engine.presence import Presence
from treadle.engine.processes import Processes
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import Ending, WorkerSettings
from treadle.engine.schedules import Ticker
from treadle.engine.signals import Pause, Sleep
from treadle.engine.threads import Threads
from treadle.engine.views import Views
from treadle.errors import LeaseLost, TreadleError, Unreachable
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import TASKS, Commit, CommitResult, Store

logger = logging.getLogger("treadle.worker")
STEPS_IN_A_ROW = 16
"""Then a slot lets others have the event loop, if neither nodes nor the store made it wait meanwhile."""


class Worker:
    """Runs tasks of the graphs it knows."""

    def __init__(
        self,
        store: Store,
        *,
        registry: NodeRegistry | None = None,
        settings: WorkerSettings | None = None,
        name: str | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.store = store
        self.registry = registry or NodeRegistry()
        self.settings = settings or WorkerSettings()
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._leases = Leases(store.renewer, self.name, self.settings.lease_seconds)
        self.held = self._leases.held
        self.presence = Presence(self.name, self.settings)
        self._chance = chance
        self.places = Places(self.registry, self.settings)
        self._graphs: dict[str, CompiledGraph] = {}
        self._ticker = Ticker(store, self._graphs, self.places.find)
        self._views = Views(store, self._graphs, self.settings)
        self._once: set[int] = set()
        """Tasks in progress whose nodes are at_most_once."""
        self._committing: set[int] = set()
        """Tasks whose outcome is on its way to the store; the answer tells whether their lease was lost."""
        self._running: dict[int, tuple[asyncio.Task[None], str]] = {}
        self._ends: dict[str, list[asyncio.Future[Ending]]] = {}
        self._chains: set[asyncio.Task[None]] = set()
        self.listeners = Listeners()
        self._calls = Calls(self.registry)
        self.processes = Processes(self.settings.processes)
        self.threads = Threads(self.settings.capacity)
        self._promised = 0
        """Slots kept for tasks that a claim or a commit under way may bring."""
        self.state = WorkerState.IDLE
        self._slot_free = asyncio.Event()
        self._claiming = asyncio.Lock()
        self._may_be_ready = True
        """Whether there may be tasks to claim: the last look was too small to find all, or there was news since."""
        self._server: asyncio.Task[None] | None = None
        self._due = math.inf
        """When the store may have to be swept before its next turn: something is delayed until then."""

    # -- life ------------------------------------------------------------------------------------------------------

    def add_graph(self, graph: CompiledGraph) -> None:
        """Let this worker run, and plan, runs pinned to this graph; takes the place of one with the same pin."""
        known = self._graphs.get(graph.pin)
        if known is graph:
            return
        if known is not None:
            self._calls.forget(known)
        self._graphs[graph.pin] = graph
        self.places.know(graph)
        self._may_be_ready = True
        self._slot_free.set()

    def graph(self, pin: str) -> CompiledGraph | None:
        return self._graphs.get(pin)

    def graph_pins(self) -> list[str]:
        return list(self._graphs)

    async def start(self) -> None:
        """Begin to look for work. Idempotent."""
        if self._server is not None:
            return
        self.state = WorkerState.SERVING
        if self.settings.heartbeat:
            self._leases.start(self._drop)
        if self.settings.serve:
            self._server = asyncio.get_running_loop().create_task(self._serve(), name=f"serve {self.name}")

    async def drain(self) -> None:
        """Claim no more and hand nothing on here; returns when all that runs has ended. `stop` may cut it short."""
        if self.state is WorkerState.SERVING:
            self.state = WorkerState.DRAINING
        async with self._claiming:  # what a claim under way brings is given back
            pass
        while self._chains:
            await asyncio.wait(self._chains)

    async def stop(self) -> None:
        """Claim no more, cancel what runs and give its tasks back. Idempotent."""
        self.state = WorkerState.STOPPED
        if self._server is not None:
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)
        chains = list(self._chains)
        for chain in chains:
            chain.cancel()
        await asyncio.gather(*chains, return_exceptions=True)
        self.processes.close()
        self.threads.close()
        held = dict(self.held)
        self._leases.stop()
        try:
            await self._give_back(held)
        except Unreachable as error:
            logger.warning("Worker %s leaves without a word; its leases will lapse: %s", self.name, error)
        self.held.clear()
        self._server = None

    async def _give_back(self, held: Mapping[int, int]) -> None:
        for died in (False, True):  # what must not run twice is not given back as if it had not begun
            tasks = {task_id: seq for task_id, seq in held.items() if (task_id in self._once) is died}
            if tasks:
                await self.store.release(self.name, tasks, died=died)
        if self._server is not None:
            await self.store.announce(self.presence.gone())

    async def _serve(self) -> None:
        settings = self.settings
        mark = 0
        next_sweep = next_look = 0.0
        while self.state is not WorkerState.STOPPED:
            try:
                if time.monotonic() >= min(next_sweep, self._due):
                    await self._sweep()
                if time.monotonic() >= next_sweep:
                    await self.store.announce(self.presence.row(self.state, self.registry, self._graphs))
                    next_sweep = time.monotonic() + settings.sweep_seconds
                if self._may_be_ready or time.monotonic() >= next_look:
                    next_look = time.monotonic() + settings.poll_seconds * (0.75 + 0.5 * self._chance())
                    if await self._claim():
                        continue
                pause = min(next_look, next_sweep, self._due) - time.monotonic()
                mark = await self._rest(mark, max(pause, 0.001))
            except TreadleError as error:  # the store is away: keep trying, hold on to what runs
                logger.warning("Worker %s: %s", self.name, error)
                self._may_be_ready = True
                await asyncio.sleep(settings.poll_seconds)

    async def _sweep(self) -> None:
        self._due = math.inf
        due = await self.store.sweep(max_attempts=self.settings.max_deaths)
        self._may_be_ready = True
        for seconds in (due, await self._ticker.tick()):
            if seconds is not None:
                self.expect(seconds)

    def expect(self, seconds: float) -> None:
        """Sweep the store after so long at the latest: a delay or a deadline ends then."""
        due = time.monotonic() + seconds
        if due < self._due:
            self._due = due
            self._slot_free.set()

    async def _claim(self) -> bool:
        """Fill free slots; returns whether there may be more to claim."""
        free = self.settings.capacity - len(self._chains) - self._promised
        if free <= 0 or not self._serving():
            self._may_be_ready = True
            return False
        self._may_be_ready = False
        self._promised += free
        try:
            async with self._claiming:
                claims = await self._claim_up_to(free)
                if not self._serving():  # it began to drain meanwhile
                    await self.store.release(self.name, {claim.task_id: claim.lease_seq for claim in claims})
                    return False
        finally:
            self._promised -= free
        for claim in claims:
            self.spawn(claim)
        self._may_be_ready = self._may_be_ready or len(claims) == free
        return len(claims) == free

    def _freed(self) -> None:
        """A slot is free: fill it, unless the last look has found that nothing is left to claim."""
        if self._may_be_ready:
            self._slot_free.set()

    def _serving(self) -> bool:
        return self.state is WorkerState.SERVING

    async def _claim_up_to(self, limit: int) -> list[Claim]:
        claim = partial(self.store.claim, self.name, lease_seconds=self.settings.lease_seconds)
        pins = list(self._graphs)
        claims: list[Claim] = []
        if pins:
            claims += await claim(queues=self.places.queues(self.settings.queues, pins), limit=limit, graphs=pins)
        offered = self.places.node_queues(self.settings.queues)
        if offered and len(claims) < limit:
            claims += await claim(queues=offered, limit=limit - len(claims), graphs=None)
        return claims

    async def _rest(self, mark: int, seconds: float) -> int:
        """Wait for a task, a free slot, or time to pass."""
        self._slot_free.clear()
        news = asyncio.ensure_future(self.store.wait(TASKS, mark, seconds))
        slot = asyncio.ensure_future(self._slot_free.wait())
        try:
            await asyncio.wait((news, slot), return_when=asyncio.FIRST_COMPLETED)
            if not news.done():
                return mark
            self._may_be_ready = self._may_be_ready or news.result() != mark
            return news.result()
        finally:
            slot.cancel()
            if not news.done():
                news.cancel()

    # -- running tasks ---------------------------------------------------------------------------------------------

    def adopt(self, run_id: str, view: View, claims: Sequence[Claim]) -> None:
        """Take over a run that was just created here, with the tasks that were leased to this worker."""
        if claims:
            self._views.keep(run_id, view)
        for claim in claims:
            self.spawn(claim)

    def spawn(self, claim: Claim) -> None:
        """Run a claimed task, and whatever is handed on from it, in a slot of its own."""
        run_id = claim.run_id
        self._views.enter(run_id)
        chain = asyncio.get_running_loop().create_task(self._chain(claim), name=run_id)
        self._chains.add(chain)
        chain.add_done_callback(self._chain_ended)

    def _chain_ended(self, chain: asyncio.Task[None]) -> None:
        self._chains.discard(chain)
        self._freed()
        self._views.leave(chain.get_name())
        if not chain.cancelled() and chain.exception() is not None:
            logger.error("A slot of worker %s broke", self.name, exc_info=chain.exception())

    async def _chain(self, claim: Claim | None) -> None:
        me = asyncio.current_task()
        assert me is not None and claim is not None
        running = (me, claim.run_id)
        steps = 0
        while claim is not None:
            task_id, lease_seq = claim.task_id, claim.lease_seq
            self.held[task_id] = lease_seq
            self._running[task_id] = running
            steps += 1
            try:
                if not steps % STEPS_IN_A_ROW:
                    await asyncio.sleep(0)
                claim = await self._one(claim)
            except Exception:
                self._let_go(task_id, lease_seq)  # renew it no more, so that somebody else may try
                self._views.forget(running[1])
                raise
            except asyncio.CancelledError:
                if self.held.get(task_id) == lease_seq:  # not fenced: the worker stops, and gives the task back
                    raise
                return
            finally:
                if self._running.get(task_id) is running:
                    del self._running[task_id]
            self._let_go(task_id, lease_seq)

    def _let_go(self, task_id: int, lease_seq: int) -> None:
        if self._leases.let_go(task_id, lease_seq):
            self._once.discard(task_id)

    async def _one(self, claim: Claim) -> Claim | None:
        """Run one task and commit its outcome; returns the next task to run in this slot."""
        context = Context(claim, self.store, self)
        if claim.graph not in self._graphs:
            await self._one_offered(claim, context)
            return None
        started = time.perf_counter()
        back: Return | None = None
        try:
            view = self._views.fresh(claim) or await self._views.knowing(claim)
            live = view.position.index[claim.activation]
            if claim.lease_seq > 1 or claim.activation in view.journaled or self.places.where != "here":
                await context.load()
            back = last_return(context) if self.places.where != "here" else None
            once = live.node.effects == "at_most_once"
            if once and back is None:
                refuse_repeat(claim)  # whoever had this task may have begun, also if it can only be handed over here
            if back is not None and back.judged and claim.node_type in self.registry:
                await self._one_offered(claim, context)  # tried again, by one who also knows the graph
                return None
            if (back is not None and back.judged) or not self.places.runs(claim, live):
                known = context.event(INPUT, TaskOffered) is not None
                await self._commit_plain(hand_over(claim, live, self.name, known=known))
                return None
            if back is not None:
                outcome = await conclude(live, back.value(), context)
            else:
                if once:
                    self._once.add(claim.task_id)
                outcome = await self._calls.run(live, context)
        except (Pause, Sleep) as signal:
            await self._suspend(claim, signal, context)
            return None
        except LeaseLost:
            return None
        except Exception as error:  # noqa: BLE001  # the task boundary: every failure of a node becomes its outcome
            await self._fail(claim, error, context, back)
            return None
        return await self._finish(claim, outcome, context, time.perf_counter() - started)

    async def _one_offered(self, claim: Claim, context: Context) -> None:
        try:
            commit = await run_offered(claim, context, self.registry, self.name)
        except (Pause, Sleep) as signal:
            await self._suspend(claim, signal, context)
        except LeaseLost:
            return
        except Exception as error:  # noqa: BLE001  # the task boundary: every failure of a node becomes its outcome
            await self._fail(claim, error, context)
        else:
            await self._commit_plain(commit)
            self.presence.finished += 1

    async def _finish(self, claim: Claim, outcome: Outcome, context: Context, seconds: float) -> Claim | None:
        while True:
            view = await self._views.knowing(claim)
            if claim.activation not in view.position.index:  # our lease is lost
                self._let_go(claim.task_id, claim.lease_seq)
                return None
            free = self.settings.capacity - len(self._chains) - self._promised + 1
            if self.state is WorkerState.DRAINING:
                free = 0
            try:
                place = self.places.find(claim.graph, claim.run_id)
                commit = advance.finished(view, claim, outcome, context.notes, self.name, seconds, free, place)
            except Exception as error:  # noqa: BLE001  # a reducer of the user may raise anything
                self._views.forget(claim.run_id)
                await self._commit_plain(advance.failed(claim, error, context.notes, self.name, None))
                return None
            view.moved(commit)
            promised = (
                sum(task.lease for task in commit.tasks) - 1
            )  # -1: this slot is free, though its commit is not done
            self._promised += promised
            if promised < 0:
                self._freed()
            try:
                result = await self._commit(commit)
            finally:
                self._promised -= promised
            if result.status == "committed":
                break
            self._views.forget(claim.run_id, view)
            if result.status == "fenced":
                self._let_go(claim.task_id, claim.lease_seq)
                return None
        self.presence.finished += 1
        if result.run_status is not RunStatus.RUNNING:
            self._ended(commit, result.run_status, view)
        return self._next(result.claims)

    def _next(self, claims: Sequence[Claim]) -> Claim | None:
        if not claims:
            return None
        for other in claims[1:]:
            self.held[other.task_id] = other.lease_seq
            self.spawn(other)
        return claims[0]

    async def _suspend(self, claim: Claim, signal: Pause | Sleep, context: Context) -> None:
        try:
            commit = advance.suspended(claim, signal, context.notes, self.name)
        except TreadleError as error:  # what it asks cannot be written
            await self._fail(claim, error, context)
        else:
            await self._commit_plain(commit)

    async def _fail(self, claim: Claim, error: Exception, context: Context, back: Return | None = None) -> None:
        self.presence.failed += 1
        graph = self._graphs.get(claim.graph)
        node = graph.listed.get(claim.node) if graph is not None else None
        attempt = back.number if back else claim.attempt
        delay = advance.delay_after(error, node, attempt, self._chance) if node is not None else None
        again = None
        if node is not None and back and delay is not None:
            live = (await self._views.knowing(claim)).position.index.get(claim.activation)
            again = advance.offered_again(claim, node, delay, key_of(live) if live is not None else None)
        await self._commit_plain(advance.failed(claim, error, context.notes, self.name, delay, back, again))

    async def _commit_plain(self, commit: Commit) -> None:
        result = await self._commit(commit)
        if result.status != "committed":
            self._views.forget(commit.run_id)
        elif result.run_status is not RunStatus.RUNNING:
            self._ended(commit, result.run_status, None)
        for delay in (commit.move.delay_seconds, *(task.delay_seconds for task in commit.tasks)):
            if delay is not None:
                self.expect(delay)
        self._freed()

    async def _commit(self, commit: Commit) -> CommitResult:
        settings = self.settings
        lease, pause = settings.lease_seconds, settings.poll_seconds / 10
        self._committing.add(commit.task_id)
        try:
            return await commit_surely(self.store, commit, self.held, lease_seconds=lease, pause_seconds=pause)
        finally:
            self._committing.discard(commit.task_id)

    # -- leases and listeners --------------------------------------------------------------------------------------

    def _drop(self, task_ids: Iterable[int]) -> None:
        """Stop running tasks whose lease is lost, but not what is done and being committed: that ends a lease too."""
        for task_id in set(task_ids) - self._committing:
            self.held.pop(task_id, None)
            running = self._running.get(task_id)
            if running is not None:
                running[0].cancel()

    def drop_run(self, run_id: str, *, but: int | None = None) -> None:
        """Stop what is being run of a run that has ended; its tasks are fenced out."""
        self._views.forget(run_id)
        self._drop([task_id for task_id, (_, of) in self._running.items() if of == run_id and task_id != but])

    def forget_view(self, run_id: str) -> None:
        """The run changed from outside: read its log again before planning on."""
        self._views.forget(run_id)

    def _ended(self, commit: Commit, status: RunStatus, view: View | None) -> None:
        if status.ended:
            self.drop_run(commit.run_id, but=commit.task_id)
        values = view.position.result if view is not None and status is RunStatus.DONE else None
        for waiter in self._ends.pop(commit.run_id, ()):
            if not waiter.done():
                waiter.set_result(Ending(status, values, commit.error))

    def runs(self, run_id: str) -> bool:
        """Whether tasks of this run are being run here."""
        return run_id in self._views

    def ending(self, run_id: str) -> asyncio.Future[Ending]:
        """A future that is set when this worker sees the run end, or come to wait."""
        future: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._ends.setdefault(run_id, []).append(future)
        return future

    async def heartbeat(self, claim: Claim) -> None:
        """Renew one lease now. Raises LeaseLost."""
        try:
            await self._leases.renew(claim)
        except LeaseLost:
            if claim.task_id not in self.held:
                self._once.discard(claim.task_id)
            raise
