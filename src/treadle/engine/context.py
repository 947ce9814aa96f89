"""The context that a node is given: journal, budget, interrupts. One per execution of a node."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from treadle.domain import codec
from treadle.domain.events import (
    Draft,
    EffectStarted,
    Event,
    InterruptAnswered,
    LogWritten,
    ModelReplied,
    Payload,
    StepRecorded,
    ToolReturned,
)
from treadle.domain.task import Claim
from treadle.engine.child_side import Facts
from treadle.engine.signals import Pause, Sleep
from treadle.errors import EffectInterrupted, JournalMismatch, UsageError
from treadle.ports.context import Amounts, Effects
from treadle.ports.store import Budget, JournalEntry, Store

if TYPE_CHECKING:
    from treadle.engine.processes import Processes
    from treadle.engine.threads import Threads
    from treadle.engine.worker import Worker

_KINDS: dict[str, type[StepRecorded]] = {"model": ModelReplied, "tool": ToolReturned}
P = TypeVar("P", bound=Payload)
_RECORDS = frozenset({"StepRecorded", "ModelReplied", "ToolReturned"})


class Context:
    """Implements `ports.context.NodeContext` over a store."""

    logger = logging.getLogger("treadle.node")

    def __init__(self, claim: Claim, store: Store, worker: Worker) -> None:
        self._claim = claim
        self._store = store
        self._worker = worker
        self._journal: dict[tuple[str, str], Event] = {}
        self._asked = 0
        self.attempts_before = 0
        """Of earlier tasks for the same activation."""
        self.notes: list[Draft] = []
        """Log lines to be written with the outcome."""
        self.blobs = Blobs(store)

    @property
    def run_id(self) -> str:
        return self._claim.run_id

    @property
    def activation(self) -> str:
        return self._claim.activation

    @property
    def attempt(self) -> int:
        return self._claim.attempt + self.attempts_before

    @property
    def idempotency_key(self) -> str:
        return hashlib.sha256(f"{self.run_id}\n{self.activation}".encode()).hexdigest()[:32]

    async def load(self) -> None:
        """Read the journal of an activation that was entered before."""
        for event in await self._store.journal(self.run_id, self.activation):
            assert event.step is not None
            self._journal.setdefault((event.step, _slot(event)), event)

    def event(self, key: str, kind: type[P]) -> P | None:
        """What was loaded of the journal under a key."""
        found = self._journal.get((key, kind.__name__))
        return found.payload if found is not None and isinstance(found.payload, kind) else None

    async def step(
        self,
        key: str,
        fn: Callable[[], Any],
        *,
        kind: str = "step",
        request: Any = None,
        effects: Effects = "idempotent",
        reserve: Amounts | None = None,
        settle: Callable[[Any], Amounts] | None = None,
    ) -> Any:
        """See `ports.context.NodeContext.step`."""
        plain = codec.encode(request)
        digest = hashlib.sha256(plain).hexdigest()
        known = self._journal.get((key, "record"))
        if known is not None:
            return self._recorded(known, key, digest)
        await self._begin(key, kind, digest, plain, effects, reserve)
        started = time.perf_counter()
        try:
            result = await _call(fn)
        except Exception:
            if reserve:  # it failed, so it costs nothing that we know of
                await self._store.reserve(self.run_id, self.activation, key, dict.fromkeys(reserve, 0.0))
            raise
        payload = _KINDS.get(kind, StepRecorded)(
            kind=kind,
            digest=digest,
            request=msgspec.Raw(plain),
            result=msgspec.Raw(codec.encode_shared(result)),
            seconds=round(time.perf_counter() - started, 6),
        )
        entry = JournalEntry(Draft(payload, self.activation, key), settle(result) if settle else {})
        event = await self._store.record(self.run_id, self.activation, entry)
        self._journal[key, "record"] = event
        return result if event.payload is payload else self._recorded(event, key, digest)

    async def _begin(
        self, key: str, kind: str, digest: str, plain: bytes, effects: Effects, reserve: Amounts | None
    ) -> None:
        if (key, "start") in self._journal:
            raise EffectInterrupted(f"The effect {key!r} of {self.activation!r} was in flight when its worker died.")
        if reserve:
            await self._store.reserve(self.run_id, self.activation, key, reserve)
        if effects == "at_most_once":
            start = EffectStarted(kind=kind, digest=digest, request=msgspec.Raw(plain))
            entry = JournalEntry(Draft(start, self.activation, key))
            if (await self._store.record(self.run_id, self.activation, entry)).payload is not start:
                raise EffectInterrupted(
                    f"The effect {key!r} of {self.activation!r} was begun before, and nobody knows how it ended; "
                    f"it was not repeated."
                )

    def _recorded(self, event: Event, key: str, digest: str) -> Any:
        payload = event.payload
        assert isinstance(payload, StepRecorded)
        if payload.digest != digest:
            raise JournalMismatch(
                f"Step {key!r} of {self.activation!r} was recorded for another request; nothing was done."
            )
        return codec.decode(payload.result)

    def interrupt(self, value: Any, *, key: str | None = None) -> Any:
        """See `ports.context.NodeContext.interrupt`."""
        if key is None:
            key = f"interrupt:{self._asked}"
            self._asked += 1
        answered = self._journal.get((key, "answer"))
        if answered is None:
            raise Pause(key, value)
        assert isinstance(answered.payload, InterruptAnswered)
        return codec.decode(answered.payload.value)

    async def sleep(self, seconds: float) -> None:
        """Let go of the worker and start again from the top after so long; costs nothing while it waits."""
        key = f"sleep:{self._asked}"
        self._asked += 1
        if (key, "record") not in self._journal:
            raise Sleep(key, seconds)

    def facts(self) -> Facts:
        """What a child process may know of the task."""
        answers = {
            key: bytes(event.payload.value)
            for (key, slot), event in self._journal.items()
            if slot == "answer" and isinstance(event.payload, InterruptAnswered)
        }
        slept = frozenset(key for key, slot in self._journal if slot == "record" and key.startswith("sleep:"))
        return Facts(self.run_id, self.activation, self.attempt, self.idempotency_key, answers, slept)

    @property
    def processes(self) -> Processes:
        """Where cpu-bound functions run."""
        return self._worker.processes

    @property
    def threads(self) -> Threads:
        """Where sync functions run."""
        return self._worker.threads

    def emit(self, value: Any) -> None:
        self._worker.listeners.emit(self.run_id, self.activation, "custom", value)

    def emit_token(self, text: str) -> None:
        """Show a piece of a model's answer to whoever streams tokens."""
        self._worker.listeners.emit(self.run_id, self.activation, "tokens", text)

    async def heartbeat(self) -> None:
        await self._worker.heartbeat(self._claim)

    async def budget(self) -> Mapping[str, Budget]:
        """The run's budgets by kind, as they stand."""
        return {budget.kind: budget for budget in await self._store.budgets(self.run_id)}

    def log(self, message: str, **fields: Any) -> None:
        self.notes.append(Draft(LogWritten(message, codec.to_plain(fields)), self.activation))
        self.logger.info(message, extra={"run": self.run_id, "activation": self.activation})


class Blobs:
    """Large bytes beside the log, by content."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, data: bytes) -> str:
        return await self._store.put_blob(data)

    async def get(self, digest: str) -> bytes:
        return await self._store.get_blob(digest)


class ThreadContext:
    """The context as a sync node sees it from its thread: what is async there blocks here."""

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._context, name)
        if not inspect.iscoroutinefunction(found):
            return found

        def blocking(*args: Any, **kwargs: Any) -> Any:
            if asyncio._get_running_loop() is not None:
                raise UsageError(f"ctx.{name} of a sync node was called from a running event loop.")
            too_late = UsageError(f"ctx.{name} was called when the worker had stopped.")
            if self._loop.is_closed():
                raise too_late
            result = asyncio.run_coroutine_threadsafe(found(*args, **kwargs), self._loop)
            while True:
                try:
                    return result.result(timeout=1.0)
                except TimeoutError:
                    if result.done():  # it is the operation's own
                        raise
                    if self._loop.is_closed():
                        raise too_late from None

        return blocking


async def _call(fn: Callable[[], Any]) -> Any:
    """Call an effect: on the loop if it is async or merely wraps what is (a lambda, a partial), else in a thread."""
    if (
        inspect.iscoroutinefunction(fn)
        or isinstance(fn, functools.partial)
        or getattr(fn, "__name__", "") == "<lambda>"
    ):
        result = fn()
    else:
        result = await asyncio.to_thread(fn)
    return await result if inspect.isawaitable(result) else result


def _slot(event: Event) -> str:
    if event.type in _RECORDS:
        return "record"
    return {"EffectStarted": "start", "InterruptAnswered": "answer"}.get(event.type, event.type)
