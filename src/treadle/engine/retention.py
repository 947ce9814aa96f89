"""What becomes of old runs: pruning, and taking a run along as JSON lines. Works on any store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec

from treadle.domain.events import Draft, RunPaused, decode_payload, encode_payload
from treadle.domain.task import NewTask, RunRow, RunStatus, TaskState
from treadle.errors import Conflict, UsageError
from treadle.ports.store import Change, NewRun, Store

FORMAT = "treadle-run"
VERSION = 1
ENDED = frozenset({RunStatus.DONE, RunStatus.ERROR, RunStatus.CANCELLED})


async def prune(store: Store, *, older_than_seconds: float, now: float | None = None, keep: int = 0) -> list[str]:
    """Remove runs that ended more than so long ago, but for the newest `keep`; returns their ids.

    Space goes back to the disk with `Store.vacuum`.
    """
    now = time.time() if now is None else now
    rows = await store.runs(status=ENDED, limit=1_000_000)
    old = [row for row in rows[keep:] if row.updated_at < now - older_than_seconds]
    for row in old:
        await store.delete_run(row.run_id)
    return [row.run_id for row in old]


async def export_run(store: Store, run_id: str) -> AsyncIterator[str]:
    """A run as JSON lines: one header, then its events, whole. Blobs that nodes kept themselves are not included."""
    row = await store.run(run_id)
    keeps = not row.status.ended or row.status is RunStatus.ERROR
    tasks = await store.tasks(run_id) if keeps else []
    budgets = await store.budgets(run_id)
    header = {"format": FORMAT, "version": VERSION, "run": row, "tasks": tasks, "budgets": budgets}
    yield msgspec.json.encode(header).decode()
    for event in await store.events(run_id, until=row.last_seq):
        line = {"at": event.at, "type": event.type, "version": event.version, "activation": event.activation,
                "step": event.step, "payload": msgspec.Raw(encode_payload(event.payload))}  # fmt: skip
        yield msgspec.json.encode(line).decode()


async def import_run(store: Store, lines: Iterable[str], *, now: float | None = None) -> str:
    """Create a run from what `export_run` wrote; returns its id. A run in progress goes on here, a failed one may be
    retried. Attempts and priorities start anew; of its budgets it has what was left.

    Raises:
        UsageError: This is no export, or a newer one. Nothing was created.
        Conflict: A run with this id exists; it was not touched.
    """
    parsed = iter(lines)
    header = _header(next(parsed, ""))
    row = msgspec.convert(header["run"], RunRow)
    drafts = [_draft(line) for line in parsed if line.strip()]
    now = time.time() if now is None else now
    tasks = [_task(task, now) for task in header["tasks"]]
    result = await store.create_run(
        NewRun(
            row.run_id,
            row.graph,
            drafts,
            tasks,
            tenant=row.tenant,
            project=row.project,
            labels=row.labels,
            deadline_seconds=None if row.deadline is None else max(row.deadline - now, 0.0),
            budgets=_left(header.get("budgets", ())),
            status=row.status if row.status.ended or row.status is RunStatus.PENDING else RunStatus.RUNNING,
        )
    )
    if result.status != "committed":
        raise Conflict(f"Run {row.run_id!r} exists already; nothing was imported.", hint="Name another store.")
    if row.paused and not row.status.ended:
        await store.change(Change(row.run_id, [Draft(RunPaused())], paused=True, status=RunStatus.WAITING))
    return row.run_id


def _header(line: str) -> dict[str, Any]:
    try:
        header = msgspec.json.decode(line)
        known = header["format"] == FORMAT and header["version"] <= VERSION
    except (msgspec.DecodeError, KeyError, TypeError):
        known = False
    if not known:
        raise UsageError("This is not an exported run that this release can read; nothing was imported.")
    return dict(header)


def _task(task: dict[str, Any], now: float) -> NewTask:
    waits = task["state"] == TaskState.WAITING
    due = task["not_before"]
    return NewTask(
        task["activation"], task["node"], task["node_type"], task["queue"],
        delay_seconds=max(due - now, 0.0) if waits and due is not None else None,
        held=waits and due is None,
        key=task.get("key"),
    )  # fmt: skip


def _left(budgets: Iterable[dict[str, Any]]) -> dict[str, float]:
    return {b["kind"]: max(b["limit"] - b["spent"], 0.0) for b in budgets if b["limit"] is not None}


def _draft(line: str) -> Draft:
    event = msgspec.json.decode(line)
    payload = decode_payload(event["type"], event["version"], msgspec.json.encode(event["payload"]))
    return Draft(payload, event["activation"], event["step"], event["at"])
