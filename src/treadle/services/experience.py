"""What past builds of a store took, task by task: read from the reports at the ends of their logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

from treadle.domain import codec
from treadle.domain.events import NodeFinished
from treadle.domain.experience import Experience, TaskOutcome
from treadle.domain.inventory import Complexity
from treadle.domain.plan import TaskKind
from treadle.domain.task import RunRow, RunStatus
from treadle.ports.store import Store
from treadle.services.runs import BUILD

_LAST_EVENTS = 5
_KINDS, _COMPLEXITIES = get_args(TaskKind), get_args(Complexity)


async def experience_of(store: Store, *, limit: int = 50) -> Experience:
    """Read what became of the tasks of the builds that came to an end, solved or not, among the newest runs."""
    rows = await store.runs(status=frozenset({RunStatus.DONE}), limit=limit)
    builds = [row for row in reversed(rows) if row.labels.get("kind") == BUILD]
    return Experience(tuple([outcome for row in builds for outcome in outcomes_in(row, await _report(store, row))]))


def outcomes_in(row: RunRow, report: Mapping[str, Any]) -> Iterator[TaskOutcome]:
    """The outcomes that a build's report tells. Its seconds are shared out by tokens: only the whole's are known."""
    tasks = [task for task in report.get("tasks", []) if "ok" in task]
    tokens = sum(int(task.get("tokens", 0)) for task in tasks)
    seconds = max(row.updated_at - row.created_at, 0.0)
    for task in tasks:
        if task.get("kind") in _KINDS and task.get("complexity") in _COMPLEXITIES:
            spent = int(task.get("tokens", 0))
            yield TaskOutcome(
                kind=cast("TaskKind", task["kind"]),
                complexity=cast("Complexity", task["complexity"]),
                tier=str(task.get("tier") or ""),
                solved=bool(task["ok"]),
                tokens=spent,
                seconds=round(seconds * spent / tokens, 1) if tokens else seconds / len(tasks),
                cost=task.get("cost"),
                began=str(task.get("began") or ""),
            )


async def _report(store: Store, row: RunRow) -> Mapping[str, Any]:
    last = await store.events(row.run_id, after=max(0, row.last_seq - _LAST_EVENTS))
    ends = [codec.bare(event.payload.update) for event in last if isinstance(event.payload, NodeFinished)]
    reports = [update["report"] for update in ends if isinstance(update, dict) and "report" in update]
    return reports[-1] if reports else {}
