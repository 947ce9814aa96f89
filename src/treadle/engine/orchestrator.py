"""The orchestrator: starts runs, waits for them, and changes them from outside. Every face comes here."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

import msgspec

from treadle.domain import codec
from treadle.domain.events import (
    Draft,
    InterruptAnswered,
    InterruptRaised,
    NodeFinished,
    Payload,
    RunCancelled,
    RunErrored,
    RunForked,
    RunMigrated,
    RunPaused,
    RunResumed,
    StateUpdated,
    TaskRetried,
)
from treadle.domain.state import State
from treadle.domain.task import NewTask, RunRow, RunStatus, TaskRow, TaskState
from treadle.engine import advance, starting
from treadle.engine.advance import View
from treadle.engine.follow import Follower, Mode, news
from treadle.engine.lease import is_dead
from treadle.engine.limits import Limits
from treadle.engine.registry import NodeRegistry
from treadle.engine.results import Ending, Interrupt, Result, RunOptions, Step, WorkerSettings
from treadle.engine.schedules import Schedules
from treadle.engine.worker import Worker
from treadle.errors import Conflict, NotFound, RunFailed, UsageError
from treadle.errors import RunCancelled as RunCancelledError
from treadle.errors import RunTimedOut as RunTimedOutError
from treadle.graph.build import Graph, as_compiled
from treadle.graph.fold import rebuild
from treadle.graph.plan import Position
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import Change, Store

AnyGraph = Graph | CompiledGraph
_OPEN = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING})


def new_run_id() -> str:
    """Short enough to type, random enough never to meet another."""
    return secrets.token_hex(6)


class Orchestrator:
    """Runs graphs over a store, with a worker of its own in this process.

    Usable as `async with`; otherwise it starts on first use, and `close()` ends it.
    """

    def __init__(
        self, store: Store, registry: NodeRegistry | None = None, *, settings: WorkerSettings | None = None
    ) -> None:
        self.store = store
        self.worker = Worker(store, registry=registry, settings=settings)
        self._opened = False
        self.limits = Limits(store, self._open)
        self.schedules = Schedules(store, self._open, self.add_graph)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _open(self) -> None:
        if not self._opened:
            await self.store.open()
            await self.worker.start()
            self._opened = True

    async def close(self) -> None:
        """Stop the worker (its unfinished tasks go back to the store) and the store. Idempotent."""
        if self._opened:
            self._opened = False
            await self.worker.stop()
            await self.store.close()

    # -- starting --------------------------------------------------------------------------------------------------

    def add_graph(self, graph: AnyGraph) -> CompiledGraph:
        """Let this process run, and plan, runs of this graph. Raises UnknownName for a node without a function."""
        compiled = as_compiled(graph)
        if self.worker.graph(compiled.pin) is not compiled:
            for node in compiled.listed.values() if self.worker.places.where == "here" else ():
                if node.func is None and node.subgraph is None:
                    self.worker.registry.find(node.node_type)
            self.worker.add_graph(compiled)
        return compiled

    async def start(self, graph: AnyGraph, initial_state: Any = None, *, options: RunOptions | None = None) -> str:
        """Start a run and return its id at once; it goes on in this process, and after a crash in any other.

        With `dedup` in the options it may be the id of a run that is live already; then nothing was started.

        Raises:
            Conflict: A run with this id exists; it was not touched.
        """
        compiled = self.add_graph(graph)
        await self._open()
        options = options or RunOptions()
        run_id = options.run_id or new_run_id()
        place = self.worker.places.find(compiled.pin, run_id)
        position, tasks, events, status = starting.first_plan(
            compiled, run_id, initial_state, dict(options.labels), self.worker.settings.capacity, place
        )
        return await self._create(compiled, run_id, options, position, tasks, events, status)

    async def _create(
        self, graph: CompiledGraph, run_id: str, options: RunOptions, position: Position, tasks: list[NewTask],
        events: list[Draft], status: RunStatus,
    ) -> str:  # fmt: skip
        worker = self.worker
        delay = await starting.seconds_until(self.store, options)
        new = starting.new_run(
            graph, run_id, options, tasks, events, status, worker=worker.name,
            lease_seconds=worker.settings.lease_seconds, delay=delay,
        )  # fmt: skip
        result = await self.store.create_run(new)
        if result.status == "duplicate":
            return result.run_id
        if result.status != "committed":
            raise Conflict(
                f"Run {run_id!r} exists already; it was not touched.", hint="Choose another run_id, or resume it."
            )
        for due in (delay, new.deadline_seconds):
            if due is not None:
                worker.expect(due)
        worker.adopt(run_id, View(position, result.version), result.claims)
        return run_id

    async def execute(
        self,
        graph: AnyGraph,
        initial_state: Any = None,
        *,
        options: RunOptions | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Start a run and wait until it comes to rest; returns its last state.

        A run that waits for an answer is returned with `status` waiting and its `interrupts`.

        Raises:
            RunFailed: It ended in an error; `treadle debug` and `retry` work on it.
            TimeoutError: `timeout` seconds passed; the run goes on.
        """
        options = options or RunOptions(run_id=new_run_id())
        if options.run_id is None:
            options = RunOptions(**{**_fields(options), "run_id": new_run_id()})
        assert options.run_id is not None
        await self._open()
        ending = self.worker.ending(options.run_id) if options.dedup is None else None
        run_id = await self.start(graph, initial_state, options=options)
        return await self._rest(
            run_id, ending or self.worker.ending(run_id), timeout, here=ending is not None and self.worker.runs(run_id)
        )

    async def wait(self, run_id: str, *, timeout: float | None = None) -> Result:
        """Wait until a run comes to rest, whoever runs it. Raises as `execute`."""
        await self._open()
        return await self._rest(run_id, self.worker.ending(run_id), timeout)

    async def _rest(
        self, run_id: str, ending: asyncio.Future[Ending], timeout: float | None, *, here: bool = False
    ) -> Result:
        """`here`: the run has just begun in this process, so there is no need to look first."""
        mark = 0
        async with asyncio.timeout(timeout):
            if here:
                mark = await news(self.store, self.worker, run_id, ending, mark)
            while not (ending.done() and ending.result().status.ended):
                row = await self.store.run(run_id)
                if row.status.ended or (row.status is RunStatus.WAITING and not row.paused):
                    break
                if ending.done():  # it seemed to rest, but was only paused
                    ending = self.worker.ending(run_id)
                mark = await news(self.store, self.worker, run_id, ending, mark)
        if ending.done() and ending.result().status is RunStatus.DONE:
            values = ending.result().values
            if values is not None:
                return Result(values, run_id, RunStatus.DONE)
        return await self._result(run_id)

    async def _result(self, run_id: str) -> Result:
        row = await self.store.run(run_id)
        if row.status is RunStatus.CANCELLED:
            raise RunCancelledError(f"Run {run_id!r} was cancelled.")
        if row.status is RunStatus.ERROR:
            last = (await self.store.events(run_id, after=row.last_seq - 1))[-1].payload
            error = row.error or (last.error if isinstance(last, RunErrored) else "")
            if _is_late(last):
                hint = f"Go on from where it stood, without its deadline: `treadle fork {run_id}`."
                raise RunTimedOutError(f"Run {run_id!r} failed. {error}", hint=hint)
            hint = f"See `treadle debug --run {run_id}`; then `treadle retry {run_id}`."
            raise RunFailed(f"Run {run_id!r} failed. {error}", hint=hint)
        view = await self._view(row)
        return Result(view.position.values(), run_id, row.status, await self.interrupts(run_id))

    async def resume(self, run_id: str, graph: AnyGraph | None = None) -> RunRow:
        """Go on with a paused run, or one whose process died; attaches to one that is alive.

        Tasks held by a process of this host that is no longer there are taken back at once; those of other hosts when
        their lease ends.

        Raises:
            Conflict: The run has ended, or is pinned to another version of the graph.
        """
        if graph is not None:
            self.add_graph(graph)
        await self._open()
        row = await self.store.run(run_id)
        if row.status.ended:
            raise Conflict(
                f"Run {run_id!r} {row.status.told}; there is nothing to resume.", hint=_ended_hint(row.status)
            )
        self._known_graph(row)
        if row.paused:
            change = Change(run_id, [Draft(RunResumed())], paused=False, status=RunStatus.RUNNING, only_if=_OPEN)
            await self._change(change)
        for task in await self.store.tasks(run_id):
            if task.state is TaskState.LEASED and task.worker and is_dead(task.worker):
                await self.store.release(task.worker, {task.task_id: task.lease_seq}, died=True)
        return await self.store.run(run_id)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def status(self, run_id: str) -> RunRow:
        """Raises NotFound."""
        await self._open()
        return await self.store.run(run_id)

    async def list(self, *, status: frozenset[RunStatus] = frozenset(), limit: int = 100) -> list[RunRow]:
        """Newest first."""
        await self._open()
        return await self.store.runs(status=status, limit=limit)

    async def interrupts(self, run_id: str) -> Sequence[Interrupt]:
        """Questions that wait for an answer."""
        waiting = {t.activation: t for t in await self.store.tasks(run_id) if _asks(t)}
        if not waiting:
            return []
        asked: dict[str, Interrupt] = {}
        for event in await self.store.events(run_id):
            payload = event.payload
            if isinstance(payload, InterruptRaised) and event.activation in waiting:
                value = codec.decode(payload.value)
                asked[event.activation] = Interrupt(event.activation, payload.key, payload.node, value)
        return [*asked.values()]

    async def state_at(self, run_id: str, event: int | None = None) -> State:
        """The state after event number `event` (None: now)."""
        row = await self.status(run_id)
        events = await self.store.events(run_id, until=event)
        if not events or (event is not None and not 0 < event <= row.last_seq):
            raise NotFound(f"Run {run_id!r} has no event {event}; it has {row.last_seq}.")
        return State(rebuild(self._known_graph(row), events).values(), workflow_id=run_id)

    async def history(self, run_id: str) -> Sequence[Step]:
        """What each node changed, in the order of the log."""
        await self._open()
        return [
            Step(event.seq, event.at, event.activation or "", event.payload.node, codec.decode(event.payload.update))
            for event in await self.store.events(run_id)
            if isinstance(event.payload, NodeFinished)
        ]

    async def stream(
        self, graph: AnyGraph, initial_state: Any = None, *, modes: Mode | Sequence[Mode] = "updates",
        options: RunOptions | None = None,
    ) -> AsyncIterator[Any]:  # fmt: skip
        """Start a run and yield what happens until it comes to rest: data for one mode, (mode, data) for several.

        `values`: the whole state after each node; `updates`: {node: update}; `events`: log events; `custom`: what nodes
        emit; `tokens`: pieces of model answers. The last two are heard only from nodes run in this process.
        """
        options = options or RunOptions()
        options = RunOptions(**{**_fields(options), "run_id": options.run_id or new_run_id()})
        assert options.run_id is not None
        await self._open()
        follower = Follower(self.worker, self._known_graph, options.run_id, modes)
        try:
            run_id = await self.start(graph, initial_state, options=options)
            if run_id != options.run_id:
                follower.close()
                follower = Follower(self.worker, self._known_graph, run_id, modes)
            async for item in follower:
                yield item
        finally:
            follower.close()

    async def follow(
        self, run_id: str, *, modes: Mode | Sequence[Mode] = "events", after: int = 0
    ) -> AsyncIterator[Any]:
        """Yield what happens in a run that exists, from event number `after` on, until it comes to rest."""
        await self._open()
        follower = Follower(self.worker, self._known_graph, run_id, modes, after)
        try:
            async for item in follower:
                yield item
        finally:
            follower.close()

    # -- changing --------------------------------------------------------------------------------------------------

    async def cancel(self, run_id: str, reason: str = "") -> RunRow:
        """End a run; what is being run of it is stopped. Raises Conflict if it has ended."""
        await self._open()
        await self._change(
            Change(
                run_id, [Draft(RunCancelled(reason))], status=RunStatus.CANCELLED, only_if=_OPEN, error=reason or None
            )
        )
        self.worker.drop_run(run_id)
        return await self.store.run(run_id)

    async def pause(self, run_id: str) -> RunRow:
        """Start nothing more of a run until it is resumed; what runs may finish. Raises Conflict if it has ended."""
        await self._open()
        await self._change(Change(run_id, [Draft(RunPaused())], paused=True, status=RunStatus.WAITING, only_if=_OPEN))
        return await self.store.run(run_id)

    async def answer(self, run_id: str, value: Any = None, *, interrupt: str | None = None) -> RunRow:
        """Answer a question of a run. `interrupt` names its activation; it may be left out if there is only one.

        Raises:
            NotFound: Nothing is asked there.
            UsageError: Several things are asked; name one.
        """
        await self._open()
        open_ = [q for q in await self.interrupts(run_id) if interrupt in (None, q.activation)]
        if not open_:
            raise NotFound(
                f"Run {run_id!r} asks nothing{f' at {interrupt!r}' if interrupt else ''}; nothing was answered.",
                hint=f"`treadle status {run_id}` shows what it asks, if anything.",
            )
        if len(open_) > 1:
            names = ", ".join(question.activation for question in open_)
            raise UsageError(
                f"Run {run_id!r} asks {len(open_)} things; nothing was answered.", hint=f"Name one of: {names}."
            )
        question = open_[0]
        answered = InterruptAnswered(question.key, msgspec.Raw(codec.encode(value)))
        row = await self.store.run(run_id)
        status = RunStatus.WAITING if row.paused else RunStatus.RUNNING
        draft = Draft(answered, question.activation, question.key)
        await self._change(Change(run_id, [draft], ready=[question.activation], status=status, only_if=_OPEN))
        return await self.store.run(run_id)

    async def update_state(self, run_id: str, update: Mapping[str, Any], *, expected_version: int | None = None) -> int:
        """Change the state of a run from outside; returns the new version.

        It applies to everything that has not started yet, and to the result. Raises Conflict if the run has moved on
        since `expected_version`; then nothing was changed.
        """
        row = await self.status(run_id)
        graph = self._known_graph(row)
        graph.schema.check_keys(dict(update))
        draft = Draft(StateUpdated(msgspec.Raw(codec.encode_shared(dict(update)))))
        return await self._change(Change(run_id, [draft], expected=expected_version))

    async def retry(self, run_id: str, task: str | None = None) -> RunRow:
        """Try the failed tasks of a failed run again (or the one named); if it failed without one, what it kept.

        Raises:
            NotFound: Nothing failed; nothing was changed.
            Conflict: The run has reached its deadline, or has ended otherwise; nothing was changed.
        """
        row = await self.status(run_id)
        if row.status is RunStatus.ERROR and _is_late(
            (await self.store.events(run_id, after=row.last_seq - 1))[-1].payload
        ):
            raise Conflict(
                f"Run {run_id!r} has reached its deadline; nothing was retried.",
                hint=f"Go on from where it stood, without a deadline: `treadle fork {run_id}`.",
            )
        tasks = await self.store.tasks(run_id)
        failed = [t.activation for t in tasks if t.state is TaskState.FAILED]
        if not failed and row.status is RunStatus.ERROR:
            failed = [t.activation for t in tasks if t.state is TaskState.READY]
        chosen = [name for name in failed if task in (None, name)]
        if not chosen:
            raise NotFound(f"Run {run_id!r} has no failed task{f' {task!r}' if task else ''}; nothing was retried.")
        drafts = [Draft(TaskRetried(), name) for name in chosen]
        await self._change(
            Change(run_id, drafts, ready=chosen, status=RunStatus.RUNNING, only_if=_OPEN | {RunStatus.ERROR})
        )
        return await self.store.run(run_id)

    async def fork(
        self, run_id: str, event: int | None = None, changes: Mapping[str, Any] | None = None,
        *, options: RunOptions | None = None,
    ) -> str:  # fmt: skip
        """Start a new run that shares the history of this one up to event number `event` (None: all of it).

        The past is copied, so the runs are independent from there on; recorded effects of what was in progress are
        not repeated. `changes` is applied to the state first.
        """
        row = await self.status(run_id)
        graph = self._known_graph(row)
        at = row.last_seq if event is None else event
        if not 0 < at <= row.last_seq:
            raise NotFound(f"Run {run_id!r} has no event {at}; it has {row.last_seq}.")
        past = [e for e in await self.store.events(run_id, until=at)]
        drafts = [Draft(e.payload, e.activation, e.step) for e in past] + [Draft(RunForked(run_id, at))]
        position = rebuild(graph, past)
        if changes:
            graph.schema.check_keys(dict(changes))
            drafts.append(Draft(StateUpdated(msgspec.Raw(codec.encode_shared(dict(changes))))))
            position.external(f"@{len(drafts)}", dict(changes))
        started = [v for v in position.index.values() if not v.child]
        options = options or RunOptions(labels={**row.labels, "fork_of": run_id})
        fork_id = options.run_id or new_run_id()
        tasks, said = advance.first_tasks(fork_id, started, 0, self.worker.places.find(graph.pin, fork_id))
        known = {(draft.activation, draft.step) for draft in drafts if draft.step is not None}
        said = [draft for draft in said if (draft.activation, draft.step) not in known]
        status = RunStatus.RUNNING if tasks else RunStatus.DONE
        return await self._create(graph, fork_id, options, position, tasks, [*drafts, *said], status)

    async def migrate(self, run_id: str, graph: AnyGraph) -> RunRow:
        """Pin a run to another version of its graph, if its log still makes sense there.

        Raises:
            Conflict: What has happened, or what is in progress, does not fit the new graph; nothing was changed.
        """
        compiled = self.add_graph(graph)
        row = await self.status(run_id)
        events = await self.store.events(run_id, until=row.last_seq)
        try:
            live = set(rebuild(compiled, events).index)
        except (KeyError, AttributeError) as error:
            raise Conflict(
                f"The log of run {run_id!r} does not fit {compiled.pin!r} ({error}); it was not migrated."
            ) from None
        tasks = {task.activation for task in await self.store.tasks(run_id)}
        if not row.status.ended and not tasks <= live:
            raise Conflict(f"Run {run_id!r} is at {sorted(tasks)}; {compiled.pin!r} would be at {sorted(live)}.")
        draft = Draft(RunMigrated(row.graph, compiled.pin))
        await self._change(Change(run_id, [draft], expected=row.version, graph=compiled.pin))
        return await self.store.run(run_id)

    async def _change(self, change: Change) -> int:
        version = await self.store.change(change)
        self.worker.forget_view(change.run_id)
        return version

    # -- graphs of runs --------------------------------------------------------------------------------------------

    def _known_graph(self, row: RunRow) -> CompiledGraph:
        graph = self.worker.graph(row.graph)
        if graph is not None:
            return graph
        name = row.graph.rsplit("@", 1)[0]
        for pin in self.worker.graph_pins():
            if pin.rsplit("@", 1)[0] == name:
                raise Conflict(
                    f"Run {row.run_id!r} is pinned to {row.graph!r}, and this code has {pin!r}; it was not touched.",
                    hint="Run it with the code it started with, or call migrate(run_id, graph).",
                )
        raise NotFound(
            f"Graph {row.graph!r} of run {row.run_id!r} is not known here.", hint="Pass the graph, or add_graph() it."
        )

    async def _view(self, row: RunRow) -> View:
        return await advance.load_view(self.store, self._known_graph(row), row.run_id)

    get_workflow_status = status
    cancel_workflow = cancel
    list_workflows = list


def _is_late(last: Payload) -> bool:
    return isinstance(last, RunErrored) and last.code == "run_timed_out"


def _ended_hint(status: RunStatus) -> str:
    """What to do with a run that has ended."""
    return "Try it again: treadle retry." if status is RunStatus.ERROR else "Fork it, or start a new one."


def _fields(options: RunOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.__slots__}


def _asks(task: TaskRow) -> bool:
    return task.state is TaskState.WAITING and task.not_before is None
