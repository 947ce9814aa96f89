"""The contract of `ports.store.Tasks.commit` as tests: fenced, atomic, applied once."""

from __future__ import annotations

import msgspec
import pytest

from treadle.domain.events import (
    Draft,
    NodeFailed,
)
from treadle.domain.task import RunStatus, TaskState
from treadle.errors import CodecError, Conflict
from treadle.ports.store import Change, JournalEntry, Store, TaskMove
from treadle.testing.clock import FakeClock
from treadle.testing.samples import (
    LEASE,
    Unregistered,
    claim,
    claim_one,
    commit,
    commit_one,
    effect,
    ending,
    new_run,
    new_task,
    note,
    outcome,
    trace,
)


class CommitSuite:
    """Outcomes: applied whole, or not at all."""

    async def test_a_commit_records_its_events_moves_its_task_and_creates_the_next(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        result = await commit_one(store, outcome(held, expected=1, tasks=[new_task("b"), new_task("c")]))
        assert (result.status, result.version, result.claims, result.run_status) == (
            "committed", 2, (), RunStatus.RUNNING,
        )  # fmt: skip
        assert [(t.activation, t.state) for t in await store.tasks("r")] == [
            ("b", TaskState.READY),
            ("c", TaskState.READY),
        ]
        assert [event.type for event in await store.events("r")] == ["RunStarted", "TaskClaimed", "NodeFinished"]

    async def test_tasks_marked_lease_are_handed_on_in_the_same_commit(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        tasks = [new_task("b", lease=True), new_task("c"), new_task("d", lease=True), new_task("e", held=True)]
        result = await commit_one(store, outcome(held, tasks=tasks))
        assert [(c.activation, c.attempt, c.lease_seq) for c in result.claims] == [("b", 1, 1), ("d", 1, 1)]
        rows = {t.activation: t for t in await store.tasks("r")}
        assert (rows["b"].worker, rows["b"].lease_until) == ("w1", clock.now() + LEASE)
        assert [c.activation for c in await claim(store, "w2")] == ["c"]
        assert (await commit_one(store, outcome(result.claims[0]))).status == "committed"

    async def test_a_commit_that_planned_nothing_leaves_the_version(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        result = await commit_one(store, outcome(await claim_one(store), move=TaskMove("ready")))
        assert (result.status, result.version) == ("committed", 1)

    async def test_a_stale_lease_seq_is_fenced_and_changes_nothing(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        old = await claim_one(store)
        clock.advance(LEASE)
        await store.sweep(max_attempts=9)
        new = await claim_one(store)  # the same worker again: only the lease tells them apart
        before = await trace(store, "r")
        result = await commit_one(store, outcome(old, tasks=[new_task("b")], status=RunStatus.DONE))
        assert (result.status, result.claims, result.version) == ("fenced", (), 1)
        assert await trace(store, "r") == before
        assert (await commit_one(store, outcome(new))).status == "committed"

    async def test_another_workers_name_is_fenced(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        before = await trace(store, "r")
        assert (await commit_one(store, outcome(held, "w2"))).status == "fenced"
        assert await trace(store, "r") == before

    async def test_a_task_is_committed_once(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        item = outcome(await claim_one(store), tasks=[new_task("b", lease=True)])
        assert (await commit_one(store, item)).status == "committed"
        before = await trace(store, "r")
        again = await commit_one(store, item)
        assert (again.status, again.claims) == ("fenced", ())
        assert await trace(store, "r") == before

    async def test_a_ready_or_unknown_task_is_fenced(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.release("w1", {held.task_id: held.lease_seq})
        before = await trace(store, "r")
        released = outcome(held, lease_seq=held.lease_seq + 1)
        unknown = outcome(held, task_id=999_999)
        nowhere = outcome(held, run_id="nobody", task_id=999_999)
        assert [r.status for r in await commit(store, released, unknown, nowhere)] == ["fenced"] * 3
        assert await trace(store, "r") == before

    async def test_an_ended_run_fences_everybody(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        a, b = await claim(store)
        await commit_one(store, ending(a, RunStatus.DONE))
        before = await trace(store, "r")
        result = await commit_one(store, outcome(b, tasks=[new_task("c")]))
        assert (result.status, result.run_status) == ("fenced", RunStatus.DONE)
        assert await trace(store, "r") == before

    async def test_a_plan_against_an_old_version_is_a_conflict_and_leaves_no_trace(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        a, b = await claim(store)
        await commit_one(store, outcome(a, expected=1, tasks=[new_task("c")]))
        before = await trace(store, "r")
        late = outcome(b, expected=1, tasks=[new_task("d", lease=True)], status=RunStatus.DONE)
        result = await commit_one(store, late)
        assert (result.status, result.version, result.claims) == ("conflict", 2, ())
        assert await trace(store, "r") == before
        assert (await commit_one(store, outcome(b, expected=2))).status == "committed"

    async def test_each_item_of_a_batch_has_its_own_result_in_order(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        await store.create_run(new_run("s", "a"))
        a, b, other = await claim(store)
        results = await commit(
            store,
            outcome(a, expected=1),
            outcome(b, "somebody else"),
            outcome(other, expected=7),
            outcome(b, expected=2, status=RunStatus.DONE),
            outcome(other, expected=1),
        )
        assert [(r.status, r.version) for r in results] == [
            ("committed", 2),
            ("fenced", 2),
            ("conflict", 1),
            ("committed", 3),
            ("committed", 2),
        ]
        assert results[3].run_status is RunStatus.DONE

    async def test_what_was_planned_on_a_refused_commit_is_refused_even_if_the_version_fits(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        a, b = await claim(store)
        first = outcome(a, expected=1)
        second = outcome(b, expected=2, after=first.name, tasks=[new_task("joined")])
        await store.change(Change("r", [note("from outside")]))  # raises the version to what `second` expects
        assert [r.status for r in await commit(store, first, second)] == ["conflict", "conflict"]
        again = msgspec.structs.replace(first, expected=2, plan=1)
        assert (await commit_one(store, again)).status == "committed"
        late = outcome(b, expected=3, after=first.name, tasks=[new_task("joined")])  # it fits the version, not the plan
        assert (await commit_one(store, late)).status == "conflict"
        assert (await commit_one(store, outcome(b, expected=3, after=again.name))).status == "committed"

    async def test_an_unknown_event_type_fails_at_the_write_and_leaves_no_trace(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        before = await trace(store, "r")
        broken = outcome(held, expected=1, events=[note("first"), Draft(Unregistered())], tasks=[new_task("b")])
        with pytest.raises(CodecError, match="Unregistered"):
            await commit_one(store, broken)
        assert await trace(store, "r") == before
        assert (await commit_one(store, outcome(held, expected=1))).status == "committed"

    async def test_a_second_event_under_one_journal_key_raises_conflict_and_leaves_no_trace(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        nap = effect("a", "sleep:0").draft
        await store.record("r", "a", JournalEntry(nap))
        before = await trace(store, "r")
        with pytest.raises(Conflict):
            await commit_one(store, outcome(held, expected=1, events=[note("tired", "a"), nap], tasks=[new_task("b")]))
        with pytest.raises(Conflict):
            await commit_one(store, outcome(held, events=[effect("a", "k").draft, effect("a", "k").draft]))
        assert await trace(store, "r") == before
        assert (await commit_one(store, outcome(held))).status == "committed"

    async def test_a_task_put_off_is_due_after_its_delay(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        failed = Draft(NodeFailed("a", "oh", "E", 1, 3.0), "a")
        await commit_one(store, outcome(held, move=TaskMove("waiting", 3.0, "oh"), events=[failed]))
        [task] = await store.tasks("r")
        assert (task.state, task.not_before, task.error, task.attempt) == (TaskState.WAITING, clock.now() + 3, "oh", 1)
        assert (await store.run("r")).status is RunStatus.RUNNING
        clock.advance(3)
        await store.sweep(max_attempts=9)
        assert (await claim_one(store)).attempt == 2

    async def test_a_task_that_asked_to_wait_is_not_counted_as_tried(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await commit_one(store, outcome(held, move=TaskMove("waiting", uncounted=True)))
        await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        again = await claim_one(store)
        assert (again.attempt, again.lease_seq) == (1, 2)

    async def test_a_task_given_back_by_a_commit_is_ready(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await commit_one(store, outcome(held, move=TaskMove("ready")))
        assert (await claim_one(store, "w2")).attempt == 2

    async def test_a_run_whose_live_tasks_all_wait_for_answers_becomes_waiting(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        a, b = await claim(store)
        first = await commit_one(store, outcome(a, move=TaskMove("waiting")))
        assert first.run_status is RunStatus.RUNNING
        second = await commit_one(store, outcome(b, move=TaskMove("waiting")))
        assert second.run_status is RunStatus.WAITING
        assert (await store.run("r")).status is RunStatus.WAITING

    async def test_a_run_with_a_task_that_is_only_delayed_does_not_wait(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", new_task("b", held=True)))
        result = await commit_one(store, outcome(await claim_one(store), move=TaskMove("waiting", 5.0)))
        assert result.run_status is RunStatus.RUNNING

    async def test_a_run_that_ends_in_error_keeps_its_tasks_for_a_retry(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b", new_task("c", held=True), "d"))
        a, b = await claim(store, limit=2)
        result = await commit_one(store, ending(a, RunStatus.ERROR))
        assert result.run_status is RunStatus.ERROR
        assert (await store.run("r")).error == "It broke."
        assert {t.activation: (t.state, t.worker) for t in await store.tasks("r")} == {
            "a": (TaskState.FAILED, None),
            "b": (TaskState.READY, None),
            "c": (TaskState.WAITING, None),
            "d": (TaskState.READY, None),
        }
        assert (await commit_one(store, outcome(b))).status == "fenced"
        await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        assert (await commit_one(store, outcome(b))).status == "fenced"
        again = {c.activation: c for c in await claim(store)}
        assert set(again) == {"a", "b", "d"}
        assert again["b"].lease_seq > b.lease_seq

    async def test_a_run_that_is_done_has_no_tasks_left(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b", new_task("c", held=True)))
        [a] = await claim(store, limit=1)
        result = await commit_one(store, ending(a, RunStatus.DONE))
        assert result.run_status is RunStatus.DONE
        assert await store.tasks("r") == []
        assert await claim(store) == []
