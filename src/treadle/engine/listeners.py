"""Who hears what nodes emit in this process. Nothing of it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Listener = Callable[[str, str, Any], None]
"""(activation, kind, value): what nodes of one run emit."""


class Listeners:
    """Listeners by run."""

    def __init__(self) -> None:
        self._by_run: dict[str, list[Listener]] = {}

    def listen(self, run_id: str, listener: Listener) -> Callable[[], None]:
        """Hear what nodes of a run emit; returns how to stop."""
        self._by_run.setdefault(run_id, []).append(listener)

        def stop() -> None:
            self._by_run[run_id].remove(listener)
            if not self._by_run[run_id]:
                del self._by_run[run_id]

        return stop

    def emit(self, run_id: str, activation: str, kind: str, value: Any) -> None:
        for listener in self._by_run.get(run_id, ()):
            listener(activation, kind, value)
