"""Leases: renewing those of a worker's tasks, and telling whether the process that held one is gone.

The heartbeat is a thread, so that a stalled event loop does not lose what the worker holds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

from treadle.domain.task import Claim
from treadle.errors import LeaseLost, StoreUnavailable, TreadleError
from treadle.ports.store import Renewer

logger = logging.getLogger("treadle.lease")
RENEWALS = 3
"""A lease is renewed so often before it would end."""
SAFE = 0.9
"""The part of a lease after which its holder stops, unless it has been renewed; the rest is for the stopping."""


class Renewals:
    """The one renewer of a worker, opened when first needed. From any thread, one at a time."""

    def __init__(self, open_renewer: Callable[[], Renewer], worker: str) -> None:
        self._open_renewer = open_renewer
        self._worker = worker
        self._renewer: Renewer | None = None
        self._lock = threading.Lock()

    def renew(self, held: Mapping[int, int], lease_seconds: float, within: float) -> frozenset[int]:
        """Extend leases (task id -> lease_seq); returns those that are lost.

        Blocks for `within` seconds at most, or twice that if another thread renews. Raises Unreachable.
        """
        if not self._lock.acquire(timeout=within):
            raise StoreUnavailable("Another renewal of this worker is still under way; no lease was renewed.")
        try:
            if self._renewer is None:
                self._renewer = self._open_renewer()
            return self._renewer.renew(self._worker, held, lease_seconds, within)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            if self._renewer is not None:
                self._renewer.close()
                self._renewer = None


class Heartbeat:
    """Renews `RENEWALS` times a lease. Reports what is lost; if it cannot renew, reports all before the lease ends."""

    def __init__(
        self,
        renewals: Renewals,
        worker: str,
        held: Mapping[int, int],
        lease_seconds: float,
        on_lost: Callable[[frozenset[int]], None],
    ) -> None:
        """`held` (task id -> lease_seq) is read, never changed; `on_lost` is called from the thread."""
        self._renewals = renewals
        self._worker = worker
        self._held = held
        self._lease_seconds = lease_seconds
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"treadle-heartbeat-{worker}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        lease, turn = self._lease_seconds, self._lease_seconds / RENEWALS
        renewed = time.monotonic()  # counted from when it was asked for, so that the store's lease ends later
        pause = turn
        while not self._stop.wait(pause):
            asked = time.monotonic()
            left = renewed + lease * SAFE - asked
            held = dict(self._held)
            if not held:
                renewed, pause = asked, turn
                continue
            try:
                lost = self._renewals.renew(held, lease, min(turn, left) if left > 0 else turn)
                renewed = asked
                pause = max(asked + turn - time.monotonic(), 0.0)
            except TreadleError as error:
                logger.warning("Leases of %s could not be renewed: %s", self._worker, error)
                left = renewed + lease * SAFE - time.monotonic()
                lost = frozenset() if left > 0 else frozenset(held)
                pause = min(turn / 4, left) if left > 0 else turn
            if lost:
                self._on_lost(lost)


class Leases:
    """What a worker holds, and the renewing of it."""

    def __init__(self, open_renewer: Callable[[], Renewer], worker: str, lease_seconds: float) -> None:
        self.held: dict[int, int] = {}
        """Task id -> lease_seq of what is being run."""
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._renewals = Renewals(open_renewer, worker)
        self._heartbeat: Heartbeat | None = None

    def start(self, on_lost: Callable[[frozenset[int]], None]) -> None:
        """Renew from now on by itself. `on_lost` is called in the event loop that runs now."""
        loop = asyncio.get_running_loop()

        def lost(task_ids: frozenset[int]) -> None:
            loop.call_soon_threadsafe(on_lost, task_ids)

        self._heartbeat = Heartbeat(self._renewals, self._worker, self.held, self._lease_seconds, lost)
        self._heartbeat.start()

    def stop(self) -> None:
        """Renew no more. Idempotent."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        self._renewals.close()

    def let_go(self, task_id: int, lease_seq: int) -> bool:
        """Hold a task no more, unless it was lost and claimed again meanwhile, under a new lease."""
        if self.held.get(task_id) != lease_seq:
            return False
        del self.held[task_id]
        return True

    async def renew(self, claim: Claim) -> None:
        """Renew one lease now. Raises LeaseLost, and holds it no more."""
        held, lease = {claim.task_id: claim.lease_seq}, self._lease_seconds
        if await asyncio.to_thread(self._renewals.renew, held, lease, lease / RENEWALS):
            self.let_go(claim.task_id, claim.lease_seq)
            raise LeaseLost(
                f"Task {claim.activation!r} attempt {claim.attempt} is no longer leased to {self._worker!r}; "
                f"its result was not recorded."
            )


def is_dead(worker: str) -> bool:
    """Whether a worker was a process of this host that is gone. Its name is `host-pid-random`."""
    host, _, pid = worker.rpartition("-")[0].rpartition("-")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
