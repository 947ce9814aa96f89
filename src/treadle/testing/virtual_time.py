"""An event loop whose time passes only when nothing else is left to do: hours of waiting take no time at all."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from treadle.testing.clock import EPOCH

T = TypeVar("T")


MOST_TURNS = 1_000_000
"""What has not ended by then never does."""


class _Selector(selectors.BaseSelector):
    """Waits for nothing; instead of sleeping it moves the time on."""

    def __init__(self) -> None:
        self.time = 0.0
        self.left = MOST_TURNS

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everything waits for something that nothing left in this loop can do.")
        self.left -= 1
        if self.left == 0:
            raise RuntimeError(f"No end after {MOST_TURNS:,} turns of the loop, at second {self.time:g}.")
        self.time += max(timeout, 0.0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs coroutines in virtual time, in one order. No threads, no sockets."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.time

    def now(self) -> float:
        """The loop serves as a store's clock."""
        return EPOCH + self._virtual.time

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end of `work`, drop whatever else is still under way, and close."""
        try:
            return self.run_until_complete(work)
        finally:
            self._drop_all()
            self.close()

    def _drop_all(self) -> None:
        self.set_exception_handler(lambda loop, context: None)  # what breaks while it is dropped is nobody's business
        for _ in range(20):
            left = asyncio.all_tasks(self)
            if not left:
                return
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.wait(left, timeout=0.0))
