"""What a worker says of itself: who it is, what it can do, and how fast it goes. Told with its sweeps, every 2 s."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable

from treadle.domain.task import WorkerState
from treadle.engine.results import WorkerSettings
from treadle.ports.store import WorkerRow

WINDOW_SECONDS = 60.0


class Presence:
    """Counts what one worker finishes. Costs an addition per task; everything else happens when it is told."""

    def __init__(self, worker: str, settings: WorkerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.finished = 0
        """Tasks."""
        self.failed = 0
        """Attempts."""
        self._worker = worker
        self._settings = settings
        self._clock = clock
        self._told: deque[tuple[float, int]] = deque([(clock(), 0)])
        """When it was asked, and what had been finished by then; the oldest is at most a window old."""

    def row(self, state: WorkerState, node_types: Iterable[str], graphs: Iterable[str]) -> WorkerRow:
        """What to announce."""
        return WorkerRow(
            self._worker,
            socket.gethostname(),
            os.getpid(),
            self._settings.capacity,
            self._settings.queues,
            state=state,
            node_types=tuple(sorted(node_types)),
            graphs=tuple(sorted(graphs)),
            finished=self.finished,
            failed=self.failed,
            per_minute=round(self._per_minute(), 1),
        )

    def gone(self) -> WorkerRow:
        """What to announce last."""
        return WorkerRow(self._worker, socket.gethostname(), os.getpid(), 0, self._settings.queues)

    def _per_minute(self) -> float:
        now = self._clock()
        while len(self._told) > 1 and self._told[1][0] <= now - WINDOW_SECONDS:
            self._told.popleft()
        self._told.append((now, self.finished))
        since, before = self._told[0]
        return (self.finished - before) * 60 / (now - since) if now > since else 0.0
