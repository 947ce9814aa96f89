"""Committing over a store that may be away for a moment, and whose answers may be lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from treadle.domain.task import Claim, TaskState, claim_of
from treadle.errors import Unreachable
from treadle.ports.store import Commit, CommitResult, Store

logger = logging.getLogger("treadle.commit")


async def commit_surely(
    store: Store, commit: Commit, held: Mapping[int, int], *, lease_seconds: float, pause_seconds: float
) -> CommitResult:
    """Commit, trying for one lease if the store is away. `held`: task id -> lease_seq of what the worker has.

    Raises:
        Unreachable: It did not get through; the task is given up and its lease will lapse.
    """
    try:
        return (await store.commit((commit,), lease_seconds=lease_seconds))[0]
    except Unreachable as error:
        logger.warning("Worker %s could not commit task %s: %s", commit.worker, commit.task_id, error)
    give_up = time.monotonic() + lease_seconds
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            result = (await store.commit((commit,), lease_seconds=lease_seconds))[0]
            if result.status != "fenced" or held.get(commit.task_id) != commit.lease_seq:
                return result
            claims = await _handed_on(store, commit, held)
        except Unreachable:
            if time.monotonic() > give_up:
                raise
            continue
        return CommitResult("committed", result.version, claims, result.run_status) if claims else result


async def _handed_on(store: Store, commit: Commit, held: Mapping[int, int]) -> tuple[Claim, ...]:
    """What an earlier try of this commit handed on, if it was applied and only its answer was lost."""
    created = {task.activation for task in commit.tasks if task.lease}
    if not created:
        return ()
    graph = (await store.run(commit.run_id)).graph
    return tuple(
        claim_of(row, graph)
        for row in await store.tasks(commit.run_id)
        if row.activation in created
        and row.state is TaskState.LEASED
        and row.worker == commit.worker
        and row.task_id not in held
    )
