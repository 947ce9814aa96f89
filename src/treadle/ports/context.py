"""What a node sees of the engine that runs it. Agents and tools depend on this, not on the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, TypeVar, overload

T = TypeVar("T")
Effects = Literal["idempotent", "at_most_once"]
Amounts = Mapping[str, float]
"""Amounts of budget by kind: `tokens`, `money` (USD), `steps`, `seconds`."""


class NodeBlobs(Protocol):
    """Large bytes by their content."""

    async def put(self, data: bytes) -> str:
        """Keep bytes; returns the digest that names them."""

    async def get(self, digest: str) -> bytes:
        """Raises NotFound."""


class BudgetView(Protocol):
    """One kind of budget: spent + reserved <= limit; without a limit it is only counted."""

    @property
    def limit(self) -> float | None: ...
    @property
    def spent(self) -> float: ...
    @property
    def reserved(self) -> float: ...


class NodeContext(Protocol):
    """Handed to a node as its second argument."""

    @property
    def run_id(self) -> str: ...

    @property
    def activation(self) -> str:
        """Structural identity of this execution of the node within its run, e.g. `write#2`."""

    @property
    def attempt(self) -> int:
        """1 for the first try; counted when the task is claimed."""

    @property
    def idempotency_key(self) -> str:
        """Names this execution to the outside world. The same on every attempt."""

    @overload
    async def step(
        self,
        key: str,
        fn: Callable[[], Awaitable[T]],
        *,
        kind: str = "step",
        request: Any = None,
        effects: Effects = "idempotent",
        reserve: Amounts | None = None,
        settle: Callable[[T], Amounts] | None = None,
    ) -> T: ...
    @overload
    async def step(
        self,
        key: str,
        fn: Callable[[], T],
        *,
        kind: str = "step",
        request: Any = None,
        effects: Effects = "idempotent",
        reserve: Amounts | None = None,
        settle: Callable[[T], Amounts] | None = None,
    ) -> T: ...
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
        """Do an effect once and remember its result; a re-entered node is given the recorded result instead.

        `key` is unique within the activation. `request` says what is asked for (any encodable value); it is recorded,
        and a replay with the same key but another request is an error. The first recorded result wins, whoever brings
        it. `reserve` is booked against the run's budget before the call, `settle(result)` replaces it afterwards.
        A sync `fn` runs in a thread.

        Raises:
            JournalMismatch: The journal holds this key with another request. Nothing was done.
            BudgetExceeded: The budget does not cover `reserve`. Nothing was done.
            EffectInterrupted: An at_most_once effect was in flight at a crash. It was not repeated.
        """

    def interrupt(self, value: Any, *, key: str | None = None) -> Any:
        """Ask the outside world; returns the answer. The node ends here until somebody answers, then starts again.

        `key` ties the answer to this very question; without one, answers are given out in the order of the questions.
        """

    async def sleep(self, seconds: float) -> None:
        """Let go of the worker; the node starts again from its top after so long. Costs nothing while it waits."""

    @property
    def blobs(self) -> NodeBlobs:
        """Large bytes beside the log."""

    async def budget(self) -> Mapping[str, BudgetView]:
        """The run's budgets by kind, as they stand."""

    def emit(self, value: Any) -> None:
        """Show something to whoever streams the run (not recorded)."""

    async def heartbeat(self) -> None:
        """Renew the lease now. Raises LeaseLost if the task has been given to another worker."""

    def log(self, message: str, **fields: Any) -> None:
        """Record a line for `treadle logs`; written with the node's result."""
