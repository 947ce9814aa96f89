"""Small runs, tasks and commits for tests of stores. They stand for no graph: a store knows none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from treadle.domain.events import (
    Draft,
    LogWritten,
    NodeFinished,
    Payload,
    RunErrored,
    RunFinished,
    RunStarted,
    StepRecorded,
)
from treadle.domain.task import Claim, NewTask, RunStatus
from treadle.ports.store import Commit, CommitResult, JournalEntry, NewRun, Store, TaskMove

LEASE = 10.0
"""Seconds, for every lease in these tests."""
GRAPH = "sample@1"


class Unregistered(Payload, frozen=True):
    """An event type that no store may write."""


def new_run(run_id: str, *tasks: NewTask | str, **changes: Any) -> NewRun:
    """A run with these entry tasks; a string is the activation, and the node, of a plain one."""
    entries = [task if isinstance(task, NewTask) else new_task(task) for task in tasks]
    started = Draft(RunStarted(state=msgspec.Raw(b'{"n":1}')))
    return msgspec.structs.replace(NewRun(run_id, GRAPH, [started], entries, lease_seconds=LEASE), **changes)


def new_task(activation: str, **changes: Any) -> NewTask:
    return msgspec.structs.replace(NewTask(activation, activation, activation), **changes)


async def claim(store: Store, worker: str = "w1", *, limit: int = 10, **more: Any) -> list[Claim]:
    """Claim from the default queue."""
    queues: Sequence[str] = more.pop("queues", ("default",))
    return await store.claim(worker, queues=queues, limit=limit, lease_seconds=LEASE, **more)


async def claim_one(store: Store, worker: str = "w1") -> Claim:
    """Claim the one task that is ready."""
    [claimed] = await claim(store, worker)
    return claimed


def outcome(claim: Claim, worker: str = "w1", *, move: TaskMove | None = None, **changes: Any) -> Commit:
    """What a worker would commit for a task that is done (or moved otherwise)."""
    finished = Draft(NodeFinished(node=claim.node, worker=worker, attempt=claim.attempt), claim.activation)
    item = Commit(claim.run_id, claim.task_id, claim.lease_seq, worker, [finished], move or TaskMove("done"))
    return msgspec.structs.replace(item, **changes)


async def commit(store: Store, *items: Commit) -> list[CommitResult]:
    return await store.commit(items, lease_seconds=LEASE)


async def commit_one(store: Store, item: Commit) -> CommitResult:
    [result] = await commit(store, item)
    return result


def ending(claim: Claim, status: RunStatus, worker: str = "w1") -> Commit:
    """The commit that ends its run: `done` finishes the task, `error` fails it."""
    if status is RunStatus.ERROR:
        failed = [Draft(RunErrored("It broke.", "broken"))]
        return outcome(
            claim, worker, move=TaskMove("failed", None, "It broke."), events=failed, status=status, error="It broke."
        )
    finished = Draft(NodeFinished(node=claim.node), claim.activation)
    return outcome(claim, worker, events=[finished, Draft(RunFinished())], status=status)


def note(text: str, activation: str | None = None) -> Draft:
    return Draft(LogWritten(text), activation)


def effect(activation: str, key: str, result: bytes = b"1", settle: Mapping[str, float] | None = None) -> JournalEntry:
    payload = StepRecorded(kind="step", digest="d", result=msgspec.Raw(result))
    return JournalEntry(Draft(payload, activation, key), settle or {})


async def trace(store: Store, run_id: str) -> tuple[Any, ...]:
    """Everything a reader can see of a run, to tell that nothing has changed."""
    return (
        await store.run(run_id),
        await store.tasks(run_id),
        await store.events(run_id),
        await store.budgets(run_id),
    )
