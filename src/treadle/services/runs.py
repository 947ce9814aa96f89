"""Looking at runs: which there are, how one stands, what its log says. Reads only; changing is the orchestrator's."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from treadle.domain import codec
from treadle.domain.events import (
    Draft,
    Event,
    InterruptRaised,
    LogWritten,
    ModelReplied,
    NodeFailed,
    NodeFinished,
    ToolReturned,
    TreeShared,
)
from treadle.domain.task import RunRow, RunStatus, TaskRow
from treadle.errors import NotFound, UsageError
from treadle.ports.store import Budget, Change, Store
from treadle.services.timeline import TaskView, Timeline, node_of, passed_over, speed, usage_of

BUILD = "build"
"""The `kind` among the labels of a build's run."""
_LAST_EVENTS = 5
"""Among so many is the end of the last node of a run that is done."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of a list of runs."""

    run_id: str
    status: RunStatus
    paused: bool
    title: str
    """The goal of a build, or the name of the graph."""
    kind: str
    graph: str
    created_at: float
    updated_at: float
    seconds: float
    """From its start to its end; to now while it runs, to the newest event while it waits."""
    tokens: int
    cost: float
    error: str
    solved: bool | None = None
    """Whether a build that is done reached its goal; None for all other runs."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """Everything that `status` shows of one run."""

    run: RunRow
    summary: RunSummary
    timeline: Timeline
    budgets: Sequence[Budget]
    asks: Sequence[Question]
    owners: Sequence[str]
    """Workers that hold tasks of it now."""
    begins_at: float | None = None
    """Of a pending run."""

    @property
    def is_idle(self) -> bool:
        """It is not at rest, and nobody works on it: its process was stopped, or died."""
        return self.run.status is RunStatus.RUNNING and not self.owners

    @property
    def tasks(self) -> list[TaskView]:
        return list(self.timeline.tasks.values())


@dataclass(frozen=True, slots=True)
class Question:
    """Something that a run waits to be told."""

    activation: str
    node: str
    value: object


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a run's story for people."""

    at: float
    task: str
    text: str
    level: str = "info"
    """`info`, `good` or `bad`."""


def amount(kind: str, value: float) -> str:
    """An amount of a budget, for people."""
    return f"{value:,.4f} USD" if kind == "money" else f"{value:,.0f}"


class Runs:
    """Reads runs from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, prefix: str | None = None) -> RunRow:
        """The run whose id is, or alone begins with, `prefix`; None means the latest.

        Raises:
            NotFound: There is none.
            UsageError: Several begin so.
        """
        rows = await self._store.runs(prefix=prefix or "", limit=20 if prefix else 1)
        if prefix is None and not rows:
            raise NotFound("There is no run here yet.", hint='Start one: treadle build "GOAL".')
        if not rows:
            raise NotFound(f"No run begins with {prefix!r}.", hint="`treadle runs` lists them.")
        exact = [row for row in rows if row.run_id == prefix]
        if len(rows) > 1 and not exact:
            names = ", ".join(row.run_id for row in rows)
            raise UsageError(f"Several runs begin with {prefix!r}; nothing was done.", hint=f"Name one of: {names}.")
        return (exact or rows)[0]

    async def recent(self, *, status: frozenset[RunStatus] = frozenset(), limit: int = 100) -> list[RunSummary]:
        """Newest first."""
        return [await self.summary(row) for row in await self._store.runs(status=status, limit=limit)]

    async def summary(self, row: RunRow) -> RunSummary:
        spent = {budget.kind: budget.spent for budget in await self._store.budgets(row.run_id)}
        name = row.graph.rsplit("@", 1)[0]
        return RunSummary(
            run_id=row.run_id,
            status=row.status,
            paused=row.paused,
            title=row.labels.get("goal") or name,
            kind=row.labels.get("kind", "run"),
            graph=row.graph,
            created_at=row.created_at,
            updated_at=row.updated_at,
            seconds=(time.time() if row.status is RunStatus.RUNNING else row.updated_at) - row.created_at,
            tokens=int(spent.get("tokens", 0)),
            cost=spent.get("money", 0.0),
            error=row.error or "",
            solved=await self._solved(row),
        )

    async def _solved(self, row: RunRow) -> bool | None:
        report = await self.build_report(row)
        return None if report is None else bool(report["solved"])

    async def build_report(self, row: RunRow) -> dict[str, Any] | None:
        """What a build that is done reported; None for all other runs."""
        if row.status is not RunStatus.DONE or row.labels.get("kind") != BUILD:
            return None
        last = await self._store.events(row.run_id, after=max(0, row.last_seq - _LAST_EVENTS))
        ends = [codec.bare(event.payload.update) for event in last if isinstance(event.payload, NodeFinished)]
        reports = [update["report"] for update in ends if "report" in update]
        return dict(reports[-1]) if reports else None

    async def report(self, row: RunRow) -> RunReport:
        """How a run stands, with every task it ever had."""
        events = await self._store.events(row.run_id)
        timeline = Timeline.of(events)
        rows = await self._store.tasks(row.run_id)
        timeline.merge(rows)
        timeline.status, timeline.error = row.status, row.error or timeline.error
        return RunReport(
            run=row,
            summary=await self.summary(row),
            timeline=timeline,
            budgets=await self._store.budgets(row.run_id),
            asks=_questions(events, rows) if row.status is RunStatus.WAITING else [],
            owners=sorted({task.worker for task in rows if task.worker and (task.lease_until or 0.0) > time.time()}),
            begins_at=_begins_at(rows) if row.status is RunStatus.PENDING else None,
        )

    async def set_budget(self, row: RunRow, kind: str, limit: float) -> None:
        """Change a limit of a run. Raises UsageError if more than that is spent already; nothing was changed."""
        spent = next((b.spent + b.reserved for b in await self._store.budgets(row.run_id) if b.kind == kind), 0.0)
        if limit < spent:
            raise UsageError(
                f"Run {row.run_id!r} has spent {amount(kind, spent)} {kind}, more than {amount(kind, limit)}; "
                "nothing was changed.",
                hint="Name a higher limit.",
            )
        said = Draft(LogWritten(f"the budget of {kind} is {amount(kind, limit)} now"))
        await self._store.change(Change(row.run_id, [said], budgets={kind: limit}))

    async def activation(self, row: RunRow, task: str | None) -> str | None:
        """The activation of a task that is called by the name that `status` shows; other words are left as they are."""
        timeline = Timeline.of(await self._store.events(row.run_id))
        called = [view.activation for view in timeline.tasks.values() if view.name == task]
        return called[0] if called else task

    async def tasks(self, *, state: str | None = None) -> list[TaskRow]:
        """Live and failed tasks of all runs that go on or failed, newest run first."""
        wanted = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.WAITING, RunStatus.ERROR})
        found = [task for row in await self._store.runs(status=wanted) for task in await self._store.tasks(row.run_id)]
        return [task for task in found if state in (None, task.state.value)]

    async def events(self, row: RunRow, *, after: int = 0) -> list[Event]:
        return await self._store.events(row.run_id, after=after)


def _begins_at(rows: Sequence[TaskRow]) -> float | None:
    return min((task.not_before for task in rows if task.not_before is not None), default=None)


def _questions(events: Sequence[Event], rows: Sequence[TaskRow]) -> list[Question]:
    waiting = {row.activation for row in rows if row.state.value == "waiting" and row.not_before is None}
    asked = {
        event.activation: Question(event.activation, event.payload.node, codec.bare(event.payload.value))
        for event in events
        if isinstance(event.payload, InterruptRaised) and event.activation in waiting
    }
    return list(asked.values())


class Narrator:
    """Says the events of one run for people, in their order, with the names of tasks that `status` shows."""

    def __init__(self) -> None:
        self._timeline = Timeline()

    def past(self, event: Event) -> None:
        """Take in an event that is not to be told."""
        self._timeline.apply(event)

    def line(self, event: Event) -> LogLine | None:
        """Say one event; None if it is bookkeeping."""
        task = self._timeline.apply(event)
        return log_line(event, task.name if task else "")


def log_line(event: Event, name: str = "") -> LogLine | None:
    """Say one event for people; None for events that are bookkeeping. `name` is that of its task."""
    payload, task = event.payload, name or event.activation or ""
    match payload:
        case NodeFinished():
            again = f", attempt {payload.attempt}" if payload.attempt > 1 else ""
            return LogLine(event.at, task, f"done in {payload.seconds:.1f} s{again}", "good")
        case NodeFailed():
            then = "" if payload.retry_seconds is None else f"; again in {payload.retry_seconds:.1f} s"
            return LogLine(event.at, task, f"failed, attempt {payload.attempt}: {payload.error}{then}", "bad")
        case ModelReplied():
            result = codec.bare(payload.result)
            asked, answered = usage_of(result)
            fast = speed(answered, payload.seconds)
            rate = f", {fast:.0f} tokens/s" if fast else ""
            step = "" if event.step == node_of(task) else f"{event.step}: "
            text = f"{step}model replied, {asked} + {answered} tokens in {payload.seconds:.1f} s{rate}"
            return LogLine(event.at, task, "; ".join([text, *(f"not {why}" for why in passed_over(result))]))
        case ToolReturned():
            request = codec.bare(payload.request)
            called = f" {request['tool']}:" if isinstance(request, dict) and request.get("tool") else ""
            return LogLine(event.at, task, f"{event.step}:{called} {outcome_of(codec.bare(payload.result))}")
        case LogWritten():
            fields = " ".join(f"{key}={plain_text(value)}" for key, value in payload.fields.items() if value)
            return LogLine(event.at, task, f"{payload.message} {fields}".rstrip())
        case TreeShared():
            on = f" on top of {payload.base[:10]}" if payload.base else ""
            return LogLine(
                event.at, "", f"tree {payload.tree[:10]} shared by {payload.host}: {payload.bytes:,} bytes{on}"
            )
        case InterruptRaised():
            return LogLine(event.at, task, f"asks: {plain_text(codec.bare(payload.value))}")
    return _run_line(event, task)


def _run_line(event: Event, task: str) -> LogLine | None:
    said = {
        "RunStarted": ("started", "info"),
        "RunForked": ("forked from {source} at event {at}", "info"),
        "RunPaused": ("paused", "info"),
        "RunResumed": ("resumed", "info"),
        "RunFinished": ("finished", "good"),
        "RunErrored": ("failed: {error}", "bad"),
        "RunCancelled": ("cancelled {reason}", "bad"),
        "RunMigrated": ("migrated from {old} to {new}", "info"),
        "InterruptAnswered": ("answered", "info"),
        "TaskRetried": ("to be tried again", "info"),
        "TaskReleased": ("given back: {reason}", "info"),
        "TaskQuarantined": ("set aside: {attempts} workers died holding it", "bad"),
        "TaskCancelled": ("cancelled", "bad"),
        "StateUpdated": ("state changed from outside", "info"),
    }.get(event.type)
    if said is None:
        return None
    fields = {name: getattr(event.payload, name) for name in event.payload.__struct_fields__}
    return LogLine(event.at, task, said[0].format(**fields).strip(), said[1])


def outcome_of(result: object) -> str:
    """Say what came of a tool call in a few words."""
    if isinstance(result, str) and re.fullmatch("[0-9a-f]{40}", result):
        return f"tree {result[:10]}"
    if not isinstance(result, dict):
        return plain_text(result)[:120]
    if result.get("broken"):
        return f"no test could run: {plain_text(result['broken'])}"
    if "passed" in result:
        failed = [f"{len(result['failed'])} failed"] if result.get("failed") else []
        return ", ".join([*failed, f"{len(result['passed'])} passed"])
    if "exit_code" in result:
        late = ", timed out" if result.get("timed_out") else ""
        return f"exit code {result['exit_code']}{late}"
    if "text" in result:
        return plain_text(result["text"])[:120]
    if "commit" in result:
        return f"commit {result['commit'][:10]} on branch {result.get('branch')} of {result.get('place')}"
    return plain_text(result)[:120]


def plain_text(value: object) -> str:
    """One line for any recorded value."""
    return " ".join(str(value).split())


def event_summary(event: Event) -> str:
    """What an event says, on one line, without what is long."""
    line = log_line(event)
    if line is not None:
        return line.text
    payload = event.payload
    fields = {name: getattr(payload, name) for name in payload.__struct_fields__}
    return " ".join(f"{name}={value}" for name, value in fields.items() if isinstance(value, str | int | float))
