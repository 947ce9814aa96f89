"""What must hold after any fault, read from the event log of every run and from the ledger of its nodes."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.domain import codec
from treadle.domain.events import (
    BudgetSettled,
    Event,
    NodeFailed,
    NodeFinished,
    RunCancelled,
    RunErrored,
    RunFinished,
    StepRecorded,
    TaskClaimed,
    TaskReleased,
    TaskRetried,
)
from treadle.domain.task import RunRow, RunStatus
from treadle.errors import NotFound, TreadleError
from treadle.graph.fold import rebuild
from treadle.graph.spec import CompiledGraph
from treadle.ports.store import Store

ENDS = (RunFinished, RunErrored, RunCancelled)
EFFECTS_ONCE = ("pay", "sealed")
"""Kinds of lines in the ledger that stand for what must not be repeated."""
Logs = dict[str, list[Event]]


@dataclass(frozen=True)
class Line:
    """One line of the ledger."""

    kind: str
    run_id: str
    activation: str
    at: float
    pid: int
    said: str


def read_ledger(path: Path) -> list[Line]:
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        kind, run_id, activation, at, pid, *said = text.split(" ")
        lines.append(Line(kind, run_id, activation, float(at), int(pid), " ".join(said)))
    return lines


async def read_logs(store: Store, run_ids: Iterable[str]) -> Logs:
    """The log of each of these runs that there is."""
    logs: Logs = {}
    for run_id in run_ids:
        try:
            logs[run_id] = await store.events(run_id)
        except NotFound:
            continue
    return logs


@dataclass
class Audit:
    """What was found."""

    runs: int = 0
    nodes: int = 0
    """Finished, each once."""
    entered_again: int = 0
    """Nodes that were begun more than once, and were allowed to be."""
    cut_short: int = 0
    """Runs that ended at a node which must not be repeated, because its worker was lost."""
    wrong: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)


async def audit(
    store: Store,
    graphs: Mapping[str, CompiledGraph],
    accepted: Iterable[str],
    ledger: Path,
    seen: Logs,
    may_fail: Mapping[str, str],
) -> Audit:
    """Check all that is promised of these runs, all of which must have ended.

    Args:
        graphs: By pin.
        accepted: Runs whose creation was acknowledged.
        seen: Logs as they were read before something went wrong: nothing that was in them may be gone.
        may_fail: Words in the error of a run that may fail, by run id.
    """
    found = Audit()
    lines: dict[str, list[Line]] = defaultdict(list)
    for entry in read_ledger(ledger):
        lines[entry.run_id].append(entry)
    for run_id in accepted:
        try:
            row = await store.run(run_id)
        except NotFound:
            found.wrong.append(f"{run_id}: it was accepted, and is gone")
            continue
        events = await store.events(run_id)
        one = _OneRun(found, row, events, lines.pop(run_id, []))
        one.log(seen.get(run_id, []))
        one.ending(may_fail.get(run_id))
        one.ledger()
        await one.rows(store, graphs[row.graph])
        found.runs += 1
    found.check(not lines, f"the ledger knows runs that were never accepted: {sorted(lines)[:3]}")
    return found


class _OneRun:
    def __init__(self, found: Audit, row: RunRow, events: list[Event], lines: list[Line]) -> None:
        self.found = found
        self.row = row
        self.events = events
        self.lines = lines
        self.finished = Counter(e.activation for e in events if isinstance(e.payload, NodeFinished))

    def check(self, holds: bool, what: str) -> None:
        self.found.check(holds, f"{self.row.run_id}: {what}")

    def log(self, seen: list[Event]) -> None:
        """Whole, without gaps, nothing finished twice, and nothing that was read before is gone or changed."""
        events = self.events
        self.check([e.seq for e in events] == [*range(1, self.row.last_seq + 1)], "the log has gaps")
        self.check(events[: len(seen)] == seen, "what was recorded before the fault is gone or changed")
        twice = {name for name, count in self.finished.items() if count > 1}
        self.check(not twice, f"finished twice: {twice}")
        self.found.nodes += len(self.finished)
        keys = Counter((e.activation, e.step, e.type) for e in events if e.step is not None)
        self.check(all(count == 1 for count in keys.values()), f"journaled twice: {keys.most_common(1)}")
        leases: dict[str | None, int] = {}
        done: set[str | None] = set()
        for event in events:
            if isinstance(event.payload, TaskClaimed | TaskReleased):
                rose = event.payload.lease_seq > leases.get(event.activation, 0)
                self.check(rose, f"the lease_seq of {event.activation} fell")
                self.check(event.activation not in done, f"{event.activation} was leased after it had finished")
                leases[event.activation] = event.payload.lease_seq
            elif isinstance(event.payload, NodeFinished):
                done.add(event.activation)

    def ending(self, may_fail: str | None) -> None:
        """Exactly one end, and a good one unless a promise says otherwise."""
        row, ends = self.row, [e for e in self.events if isinstance(e.payload, ENDS)]
        again = any(isinstance(e.payload, TaskRetried) for e in self.events)
        self.check(row.status.ended, f"it is {row.status.value}")
        self.check(len(ends) == 1 or again, f"it ended {len(ends)} times")
        error = row.error or ""
        if row.status is RunStatus.ERROR and "at_most_once" in error:
            self.found.cut_short += 1
        elif row.status is RunStatus.ERROR:
            self.check(may_fail is not None and may_fail in error, f"it failed: {error}")
        elif row.status is RunStatus.DONE:
            last = [type(e.payload) for e in self.events[-1:]]
            self.check(last == [RunFinished], f"something came after its end: {last}")

    def ledger(self) -> None:
        """Effects that must not be repeated took place once at most; nodes were begun as often as leases were lost."""
        once = Counter((entry.kind, entry.activation) for entry in self.lines if entry.kind in EFFECTS_ONCE)
        twice = {key for key, count in once.items() if count > 1}
        self.check(not twice, f"an effect was repeated that must not be: {twice}")
        entered = Counter(entry.activation for entry in self.lines if entry.kind == "enter")
        chances = Counter(e.activation for e in self.events if isinstance(e.payload, TaskReleased | NodeFailed))
        for activation, count in entered.items():
            self.check(
                count <= 1 + chances[activation],
                f"{activation} was begun {count} times, and its lease was lost {chances[activation]} times",
            )
            self.found.entered_again += count > 1
        works = {entry.said for entry in self.lines if entry.kind == "work"}
        for event in self.events:
            if isinstance(event.payload, StepRecorded) and event.step == "work":
                self.check(codec.decode(event.payload.result) in works, f"{event.activation}: a result of nobody's")

    async def rows(self, store: Store, graph: CompiledGraph) -> None:
        """The rows beside the log are what the log says, and the result is what the journal says."""
        await self._budgets(store)
        tasks = await store.tasks(self.row.run_id)
        try:
            position = rebuild(graph, self.events)
        except (KeyError, TreadleError) as error:
            self.found.wrong.append(f"{self.row.run_id}: its log makes no sense: {error!r}")
            return
        if self.row.status is RunStatus.DONE:
            self.check(not tasks, f"it is done and has tasks: {[task.activation for task in tasks]}")
            self.check(not position.index and position.result is not None, "it is done, and its log is not")
            self._result(dict(position.result or {}))
        elif self.row.status is RunStatus.ERROR:
            live = {name for name, activation in position.index.items() if activation.child is None}
            self.check({task.activation for task in tasks} == live, "its tasks are not those that the log leaves open")
        else:
            self.check(not tasks, "it was cancelled and has tasks")

    async def _budgets(self, store: Store) -> None:
        settled: Counter[str] = Counter()
        for event in self.events:
            if isinstance(event.payload, BudgetSettled):
                settled[event.payload.kind] += event.payload.amount  # type: ignore[assignment]
        for budget in await store.budgets(self.row.run_id):
            said = settled[budget.kind]
            self.check(budget.spent == said, f"{budget.spent:g} {budget.kind} are spent, the log says {said:g}")
            self.check(budget.reserved == 0, f"{budget.reserved:g} {budget.kind} are reserved, and it has ended")
            self.check(budget.limit is None or budget.spent <= budget.limit, f"it is over budget: {budget}")

    def _result(self, result: dict[str, Any]) -> None:
        if "log" not in result:
            return
        self.check(sorted(result["log"]) == sorted(map(str, self.finished)), "its state misses what finished")
        recorded = {
            event.activation: codec.decode(event.payload.result)
            for event in self.events
            if event.step == "work" and isinstance(event.payload, StepRecorded)
        }
        for activation, work in result["works"]:
            self.check(recorded.get(activation) == work, f"{activation} went on with another result")
        last = self.events[-1].payload
        said = codec.decode(last.result) if isinstance(last, RunFinished) else None
        self.check(said is None or said == result, "its last event tells another result than its log")


def overlaps(lines: Iterable[Line], kind: str = "tick") -> list[str]:
    """Activations that two processes were at work on at the same moment."""
    spans: dict[tuple[str, str], dict[int, tuple[float, float]]] = defaultdict(dict)
    for entry in lines:
        if entry.kind == kind:
            known = spans[entry.run_id, entry.activation]
            first, last = known.get(entry.pid, (entry.at, entry.at))
            known[entry.pid] = (min(first, entry.at), max(last, entry.at))
    found = []
    for (run_id, activation), by_pid in spans.items():
        ordered = sorted(by_pid.values())
        found += [f"{run_id} {activation}" for one, two in itertools.pairwise(ordered) if two[0] < one[1]]
    return found
