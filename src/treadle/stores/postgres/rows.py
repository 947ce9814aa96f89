"""Values to rows and back: events with their large payloads, new tasks, runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from treadle.domain.events import Draft, Event, blob_of, decode_payload, encode_payload, type_of
from treadle.domain.task import Claim, NewTask, RunRow, RunStatus, TaskRow, TaskState
from treadle.ports.store import WorkerRow

INLINE = 8 * 1024
"""Bytes; a larger payload goes to the blobs, once per content."""
Row = Sequence[Any]


class Columns:
    """Events and new tasks of one statement as one list per column, in the order of its parameters."""

    __slots__ = ("blobs", "events", "tasks")

    def __init__(self) -> None:
        self.events: tuple[list[Any], ...] = ([], [], [], [], [], [], [], [], [])
        """item, position, type, version, activation, step, at, payload, blob"""
        self.tasks: tuple[list[Any], ...] = ([], [], [], [], [], [], [], [], [])
        """item, activation, node, node type, queue, head start, kind, delay, key"""
        self.blobs: tuple[list[str], list[bytes]] = ([], [])

    def add_events(self, item: int, drafts: Iterable[Draft]) -> None:
        items, positions, types, versions, activations, steps, ats, payloads, blobs = self.events
        for position, draft in enumerate(drafts, 1):
            name, version = type_of(draft.payload)
            payload, blob = self._payload(encode_payload(draft.payload), blob_of(draft.payload))
            items.append(item)
            positions.append(position)
            types.append(name)
            versions.append(version)
            activations.append(draft.activation)
            steps.append(draft.step)
            ats.append(draft.at or None)
            payloads.append(payload)
            blobs.append(blob)

    def _payload(self, data: bytes, named: str | None) -> tuple[bytes | None, str | None]:
        if len(data) <= INLINE:
            return data, named
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[0].append(digest)
        self.blobs[1].append(data)
        return None, digest

    def add_tasks(self, item: int, tasks: Iterable[NewTask], *, lease: bool) -> bool:
        """Returns whether any of them can move by itself."""
        items, activations, nodes, types, queues, heads, kinds, delays, keys = self.tasks
        moving = False
        for task in tasks:
            waits = task.held or task.delay_seconds is not None
            items.append(item)
            activations.append(task.activation)
            nodes.append(task.node)
            types.append(task.node_type)
            queues.append(task.queue)
            heads.append(task.head_start)
            kinds.append("waiting" if waits else "leased" if task.lease and lease else "ready")
            delays.append(task.delay_seconds)
            keys.append(clean(task.key))
            moving = moving or not waits or task.delay_seconds is not None
        return moving


def clean(text: str | None) -> str | None:
    """Text that PostgreSQL can keep: it knows neither NUL nor lone surrogates."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\\0").encode("utf-8", "replace").decode()


def event(run_id: str, row: Row) -> Event:
    """From a row of `events` or `journal`."""
    tenant, project, seq, at, name, version, activation, step, payload = row
    return Event(
        seq, at, run_id, activation, name, version, tenant, project, decode_payload(name, version, payload), step
    )


def claim(row: Row) -> Claim:
    """From a row of `claim`, or of `claimed`, which knows no first event."""
    task_id, run_id, activation, node, node_type, graph, attempt, lease_seq, *first = row
    start = None
    if first and first[-1] is not None:
        tenant, project, at, version, payload = first
        start = event(run_id, (tenant, project, 1, at, "RunStarted", version, None, None, payload))
    return Claim(task_id, run_id, activation, node, node_type, graph, attempt, lease_seq, start)


def run_row(row: Row) -> RunRow:
    (run_id, graph, status, version, last_seq, tenant, project, created, updated, deadline, paused, error, labels) = row
    return RunRow(
        run_id, graph, RunStatus(status), version, last_seq, tenant, project, created, updated, deadline, paused, error,
        msgspec.json.decode(labels),
    )  # fmt: skip


def task_row(row: Row) -> TaskRow:
    values = list(row)
    values[6] = TaskState(values[6])
    return TaskRow(*values)


def worker_row(row: Row) -> WorkerRow:
    about, knows, started, seen, alive, held = row
    said = msgspec.json.decode(about, type=WorkerRow)
    return msgspec.structs.replace(said, knows=knows, started_at=started, seen_at=seen, alive=alive, held=held)
