"""The heartbeat: a thread that renews the leases of the tasks held, so that a stalled event loop does not lose them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from treadle.errors import TreadleError
from treadle.ports.store import Renewer

logger = logging.getLogger("treadle.lease")


class Heartbeat:
    """Renews every third of a lease. Reports what is lost; if it cannot renew, reports all before the lease ends."""

    def __init__(
        self,
        open_renewer: Callable[[], Renewer],
        worker: str,
        held: Mapping[int, int],
        lease_seconds: float,
        on_lost: Callable[[frozenset[int]], None],
    ) -> None:
        """`held` (task id -> lease_seq) is read, never changed; `on_lost` is called from the thread."""
        self._open_renewer = open_renewer
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
        renewer: Renewer | None = None
        renewed = time.monotonic()
        try:
            while not self._stop.wait(self._lease_seconds / 3):
                held = dict(self._held)
                if not held:
                    renewed = time.monotonic()
                    continue
                try:
                    renewer = renewer or self._open_renewer()
                    lost = renewer.renew(self._worker, held, self._lease_seconds)
                    renewed = time.monotonic()
                except TreadleError as error:
                    logger.warning("Leases of %s could not be renewed: %s", self._worker, error)
                    lost = frozenset(held) if time.monotonic() - renewed > self._lease_seconds * 0.8 else frozenset()
                if lost:
                    self._on_lost(lost)
        finally:
            if renewer is not None:
                renewer.close()
