"""What must hold in every world of the simulation, at any moment and at its end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from treadle.domain.events import (
    Event,
    NodeFailed,
    NodeFinished,
    NodeReturned,
    RunCancelled,
    RunErrored,
    RunFinished,
    StepRecorded,
    TaskClaimed,
    TaskOffered,
    TaskReleased,
    TaskRetried,
)
from treadle.domain.task import RunStatus, TaskState
from treadle.errors import NotFound
from treadle.graph.fold import rebuild
from treadle.stores.memory import MemoryStore

BUDGET = 1_000.0
MUST_SUCCEED = {RunStatus.DONE, RunStatus.CANCELLED}
EXPECTED_FAILURES = {"Transient", "node_error", "effect_interrupted", "store_unavailable"}


class Violation(AssertionError):
    """An invariant does not hold."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


class Invariants:
    """Raise Violation where a run is not as it must be."""

    def __init__(self, store: MemoryStore, late_bookings: bool) -> None:
        self._store = store
        self._late_bookings = late_bookings

    async def now(self, run: Any) -> None:
        try:
            row = await self._store.run(run.run_id)
        except NotFound:
            return
        events = await self._store.events(run.run_id)
        tasks = await self._store.tasks(run.run_id)
        check([e.seq for e in events] == list(range(1, row.last_seq + 1)), "the log has gaps")
        done = [e.activation for e in events if isinstance(e.payload, NodeFinished)]
        check(len(done) == len(set(done)), f"committed twice: {Counter(done).most_common(2)}")
        position = rebuild(run.graph, events)
        live = {id for id, activation in position.index.items() if activation.child is None}
        if row.status in MUST_SUCCEED:
            check(not tasks, f"tasks outlive a run that is {row.status}")
        else:
            check(
                {t.activation for t in tasks} == live, f"tasks {sorted(t.activation for t in tasks)} != {sorted(live)}"
            )
            check(row.status is RunStatus.ERROR or bool(tasks), "a run goes on without tasks")
            check(
                row.status is not RunStatus.ERROR or any(t.state is TaskState.FAILED for t in tasks),
                "a failed run has no failed task",
            )
        recorded = Counter((e.activation, e.step, e.type) for e in events if e.step is not None)
        check(all(count == 1 for count in recorded.values()), f"recorded twice: {recorded.most_common(1)}")
        for budget in await self._store.budgets(run.run_id):
            check(budget.spent + budget.reserved <= BUDGET, f"over budget: {budget}")
            booked = self._store._runs[run.run_id].reserved
            known = sum(amounts.get(budget.kind, 0.0) for amounts in booked.values())
            check(budget.reserved == known, f"{budget.reserved:g} are reserved, and calls under way have {known:g}")
            kept = [key for key in booked if (*key, "StepRecorded") in recorded]
            check(not kept, f"still reserved for a call that is recorded: {kept}")
            if not self._late_bookings and budget.reserved:
                self._released(events, {key[0] for key, amounts in booked.items() if any(amounts.values())})
        self._order(events)
        self._elsewhere(events)
        check(
            all(count <= 1 for count in run.effects.values()), f"an effect was repeated: {run.effects.most_common(1)}"
        )

    def _order(self, events: list[Event]) -> None:
        finished: set[str | None] = set()
        seqs: dict[str | None, int] = {}
        offered: set[str | None] = set()
        """These have several tasks, one after the other."""
        over = False
        for event in events:
            payload = event.payload
            if isinstance(payload, TaskClaimed | TaskReleased):
                check(event.activation not in finished, f"{event.activation!r} was leased after it had finished")
                if event.activation not in offered:
                    check(payload.lease_seq > seqs.get(event.activation, 0), f"lease_seq of {event.activation!r} fell")
                seqs[event.activation] = payload.lease_seq
            elif isinstance(payload, TaskOffered):
                offered.add(event.activation)
            elif isinstance(payload, NodeFinished):
                check(not over, f"{event.activation!r} finished after the run was over")
                finished.add(event.activation)
            elif isinstance(payload, NodeFailed):
                check(
                    payload.code in EXPECTED_FAILURES, f"{event.activation!r} failed: {payload.error}\n{payload.trace}"
                )
            elif isinstance(payload, RunFinished | RunCancelled):
                check(not over, "the run ended twice")
                over = True
            elif isinstance(payload, RunErrored):
                check(payload.code in EXPECTED_FAILURES | {"quarantined"}, f"the run failed: {payload.error}")

    def _released(self, events: list[Event], reserved: set[str]) -> None:
        """Whose call has failed has nothing booked any more, unless another holder of its lease may still be at it."""
        latest = {e.activation: e.payload for e in events if e.activation in reserved}
        lapsed = {e.activation for e in events if isinstance(e.payload, TaskReleased)}
        for activation in reserved - lapsed:
            last = latest.get(activation)
            failed = isinstance(last, NodeFailed) and last.code == "Transient"
            check(not failed, f"still reserved for a call of {activation!r} that has failed")

    def _elsewhere(self, events: list[Event]) -> None:
        """What comes back from elsewhere is judged before it is tried again, and a good return never is."""
        open_: set[str | None] = set()
        for event in events:
            payload = event.payload
            if isinstance(payload, NodeReturned):
                check(event.activation not in open_, f"{event.activation!r} came back twice")
                open_.add(event.activation)
            elif isinstance(payload, NodeFailed) and event.step is not None:
                open_.discard(event.activation)

    async def at_the_end(self, run: Any) -> None:
        row = await self._store.run(run.run_id)
        events = await self._store.events(run.run_id)
        position = rebuild(run.graph, events)
        [budget] = [b for b in await self._store.budgets(run.run_id) if b.kind == "tokens"]
        calls = [e for e in events if isinstance(e.payload, StepRecorded) and e.step == "call"]
        check(budget.spent == len(calls), f"{len(calls)} calls were recorded, {budget.spent:g} were settled")
        again = Counter(e.activation for e in events if isinstance(e.payload, TaskRetried))
        for activation, count in run.entered.items():
            check(count <= 1 + again[activation], f"{activation!r} was run {count} times; it must not be repeated")
        if run.cancelled:
            check(row.status is RunStatus.CANCELLED, f"a cancelled run is {row.status}")
            return
        check(row.status is RunStatus.DONE, f"the run is {row.status}")
        check(not position.index and position.result is not None, "the run is done, its log is not")
        assert position.result is not None
        check(Counter(position.result["trail"]) == run.expected, "the result is not what was predicted")
