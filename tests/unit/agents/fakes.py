"""A node context that keeps its journal in a dict."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from treadle.errors import JournalMismatch


class FakeContext:
    """Implements `ports.context.NodeContext` as far as a build uses it. Results go through JSON, as in a store."""

    run_id = "run-1"
    attempt = 1
    idempotency_key = "key"

    def __init__(self, activation: str = "node", journal: dict[str, tuple[bytes, bytes]] | None = None) -> None:
        self.activation = activation
        self.journal = {} if journal is None else journal
        self.kinds: list[tuple[str, str]] = []
        self.settled = 0.0
        self.lines: list[str] = []
        self.budgets: dict[str, Any] = {}

    async def step(
        self, key: str, fn: Callable[[], Any], *, kind: str = "step", request: Any = None, **options: Any
    ) -> Any:
        self.kinds.append((kind, key))
        asked = msgspec.json.encode(request, order="sorted")
        if key not in self.journal:
            result = fn()
            result = await result if inspect.isawaitable(result) else result
            self.journal[key] = (asked, msgspec.json.encode(result))
            settle = options.get("settle")
            self.settled += settle(result)["tokens"] if settle else 0
        if self.journal[key][0] != asked:
            raise JournalMismatch(key)
        await asyncio.sleep(0)
        return msgspec.json.decode(self.journal[key][1])

    async def budget(self) -> dict[str, Any]:
        return self.budgets

    def log(self, message: str, **fields: Any) -> None:
        self.lines.append(message)
