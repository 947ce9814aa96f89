"""Rows to values and back: events with their blobs, runs, tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import apsw
import msgspec

from treadle.domain.events import Draft, Event, blob_of, decode_payload, encode_payload, type_of
from treadle.domain.task import Claim, RunRow, RunStatus, TaskRow, TaskState
from treadle.ports.store import WorkerRow
from treadle.stores.sqlite import connection as sql

INLINE = 8 * 1024
"""Bytes; a larger payload goes to the blobs, once per content."""
Row = Sequence[Any]


class RunHead:
    """What a transaction keeps of one run while it changes it."""

    __slots__ = (
        "ended",
        "last_seq",
        "last_task",
        "moved_by",
        "paused",
        "project",
        "run_id",
        "run_no",
        "status",
        "tenant",
        "version",
    )

    def __init__(
        self,
        run_id: str,
        run_no: int,
        version: int,
        last_seq: int,
        last_task: int,
        ended: int,
        paused: int,
        status: str,
    ) -> None:
        self.run_id = run_id
        self.run_no = run_no
        self.version = version
        self.last_seq = last_seq
        self.last_task = last_task
        self.ended = ended
        self.paused = paused
        self.status = RunStatus(status)
        self.moved_by: str | None = None
        """Set where the version rises."""


def append(connection: apsw.Connection, run: RunHead, drafts: Iterable[Draft], now: float) -> None:
    """Write events; the caller writes the run's new `last_seq`."""
    for draft in drafts:
        name, version = type_of(draft.payload)
        payload: bytes | None = encode_payload(draft.payload)
        blob = blob_of(draft.payload)
        if payload is not None and len(payload) > INLINE:
            blob, payload = put_blob(connection, payload, kept=False), None
        run.last_seq += 1
        event_id = run.run_no << 32 | run.last_seq
        values = (event_id, draft.at or now, name, version, draft.activation, draft.step, payload, blob)
        sql.run(connection, "insert_event", values)


def put_blob(connection: apsw.Connection, data: bytes, *, kept: bool) -> str:
    digest = hashlib.sha256(data).hexdigest()
    sql.run(connection, "put_blob", (digest, kept, data))
    return digest


def event(connection: apsw.Connection, row: Row, run_id: str, tenant: str, project: str) -> Event:
    seq, at, name, version, activation, step, payload, blob = row
    if payload is None:
        payload = bytes(sql.row(connection, "get_blob", (blob,))[0])
    return Event(
        seq, at, run_id, activation, name, version, tenant, project, decode_payload(name, version, payload), step
    )


def claim_of(row: Row, *, leased: bool) -> Claim:
    """From a row of `ready_tasks`, as it is after being leased."""
    task_id, _, run_id, activation, node, node_type, graph, attempt, lease_seq, *_ = row
    return Claim(task_id, run_id, activation, node, node_type, graph, attempt + leased, lease_seq + leased)


def run_row(row: Row) -> RunRow:
    (run_id, graph, status, version, last_seq, tenant, project, created, updated, deadline, paused, error, labels) = row
    return RunRow(
        run_id, graph, RunStatus(status), version, last_seq, tenant, project, created, updated, deadline, bool(paused),
        error, msgspec.json.decode(labels),
    )  # fmt: skip


def task_row(row: Row) -> TaskRow:
    values = list(row)
    values[6] = TaskState(values[6])
    return TaskRow(*values)


def worker_row(row: Row) -> WorkerRow:
    about, knows, started, seen, alive, held = row
    said = msgspec.json.decode(about, type=WorkerRow)
    return msgspec.structs.replace(said, knows=knows, started_at=started, seen_at=seen, alive=bool(alive), held=held)
