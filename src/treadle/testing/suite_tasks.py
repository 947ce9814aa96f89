"""The contract of `ports.store.Tasks` as tests: claims, fenced commits, leases, and what sweeping does."""

from __future__ import annotations

import asyncio

import pytest

from treadle.domain.events import (
    Draft,
    NodeFailed,
    RunErrored,
    TaskClaimed,
    TaskQuarantined,
    TaskReleased,
)
from treadle.domain.task import RunStatus, TaskState
from treadle.errors import CodecError
from treadle.ports.store import Change, Store, TaskMove
from treadle.testing.clock import FakeClock
from treadle.testing.samples import (
    GRAPH,
    LEASE,
    Unregistered,
    claim,
    claim_one,
    commit,
    commit_one,
    ending,
    new_run,
    new_task,
    note,
    outcome,
    trace,
)


class ClaimSuite:
    """Claims, releases, renewals."""

    async def test_a_claim_counts_the_attempt_raises_lease_seq_and_is_logged(
        self, store: Store, clock: FakeClock
    ) -> None:
        await store.create_run(new_run("r", "a"))
        claimed = await claim_one(store)
        assert (claimed.activation, claimed.attempt, claimed.lease_seq, claimed.graph) == ("a", 1, 1, GRAPH)
        [task] = await store.tasks("r")
        assert (task.state, task.worker, task.lease_until) == (TaskState.LEASED, "w1", clock.now() + LEASE)
        assert (task.attempt, task.lease_seq, task.task_id) == (1, 1, claimed.task_id)
        assert (await store.events("r"))[-1].payload == TaskClaimed("w1", 1, 1)

    async def test_two_workers_never_hold_one_task(self, store: Store) -> None:
        await store.create_run(new_run("r", *(f"n{number}" for number in range(20))))
        rounds = await asyncio.gather(*(claim(store, f"w{number}", limit=7) for number in range(5)))
        claimed = [c.activation for claims in rounds for c in claims]
        assert len(claimed) == len(set(claimed)) == 20

    async def test_nothing_ready_is_answered_at_once_with_nothing(self, store: Store) -> None:
        assert await claim(store) == []
        await store.create_run(new_run("r", "a"))
        assert await claim(store, limit=0) == []
        await claim_one(store)
        assert await claim(store) == []

    async def test_tasks_are_claimed_by_priority_then_by_age_across_queues(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("low"), new_task("high", priority=5), new_task("low2")))
        await store.create_run(new_run("s", new_task("other", queue="gpu", priority=2), new_task("old", queue="gpu")))
        claimed = await claim(store, queues=("default", "gpu"))
        assert [c.activation for c in claimed] == ["high", "other", "low", "low2", "old"]

    async def test_a_limit_takes_the_first_of_all_queues(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a"), new_task("b", queue="gpu", priority=9), new_task("c")))
        assert [c.activation for c in await claim(store, limit=2, queues=("default", "gpu"))] == ["b", "a"]
        assert [c.activation for c in await claim(store, limit=2, queues=("default", "gpu"))] == ["c"]

    async def test_a_queue_not_asked_for_keeps_its_tasks(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a", queue="gpu")))
        assert await claim(store) == []
        assert await claim(store, queues=()) == []
        assert len(await claim(store, queues=("gpu",))) == 1

    async def test_graphs_and_node_types_narrow_a_claim(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a"), new_task("b", node_type="editor")))
        await store.create_run(new_run("s", new_task("c"), graph="other@1"))
        assert await claim(store, graphs=[]) == []
        assert await claim(store, node_types=[]) == []
        assert [c.activation for c in await claim(store, graphs=["other@1"])] == ["c"]
        assert [c.activation for c in await claim(store, graphs=[GRAPH], node_types=["editor", "x"])] == ["b"]
        assert [c.activation for c in await claim(store, graphs=[GRAPH, "other@1"])] == ["a"]

    async def test_a_task_passed_over_hides_none_behind_it(self, store: Store) -> None:
        await store.create_run(new_run("r", *(new_task(f"n{n}", priority=9) for n in range(30))))
        await store.create_run(new_run("s", new_task("wanted", node_type="editor")))
        assert [c.activation for c in await claim(store, limit=1, node_types=["editor"])] == ["wanted"]

    async def test_tasks_of_ended_runs_are_not_given_out(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        [first] = await claim(store, limit=1)
        await commit_one(store, ending(first, RunStatus.ERROR))
        assert [t.state for t in await store.tasks("r")] == [TaskState.FAILED, TaskState.READY]
        assert await claim(store) == []

    async def test_a_delayed_task_is_given_out_once_it_is_due_and_swept(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", new_task("a", delay_seconds=5.0)))
        [task] = await store.tasks("r")
        assert (task.state, task.not_before) == (TaskState.WAITING, clock.now() + 5)
        assert (await store.run("r")).status is RunStatus.RUNNING
        assert await store.sweep(max_attempts=3) == pytest.approx(5)
        assert await claim(store) == []
        clock.advance(5)
        assert await store.sweep(max_attempts=3) is None
        assert [c.activation for c in await claim(store)] == ["a"]

    async def test_lease_seq_only_ever_rises(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        seen = []
        for turn in range(4):
            held = await claim_one(store)
            seen.append(held.lease_seq)
            if turn == 0:
                await store.release("w1", {held.task_id: held.lease_seq})
            elif turn == 1:
                clock.advance(LEASE)
                await store.sweep(max_attempts=9)
            elif turn == 2:
                await commit_one(store, ending(held, RunStatus.ERROR))
                await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        assert seen == sorted(set(seen))

    # -- release ---------------------------------------------------------------------------------------------------

    async def test_a_released_task_is_ready_again_and_the_attempt_does_not_count(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.release("w1", {held.task_id: held.lease_seq})
        [task] = await store.tasks("r")
        assert (task.state, task.attempt, task.worker, task.lease_until) == (TaskState.READY, 0, None, None)
        assert task.lease_seq > held.lease_seq
        released = (await store.events("r"))[-1]
        assert released.payload == TaskReleased("released", task.lease_seq)
        assert released.activation == "a"
        again = await claim_one(store, "w2")
        assert again.attempt == 1

    async def test_a_death_counts_the_attempt(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.release("w1", {held.task_id: held.lease_seq}, died=True)
        assert isinstance(lapsed := (await store.events("r"))[-1].payload, TaskReleased)
        assert lapsed.reason == "lapsed"
        assert (await claim_one(store, "w2")).attempt == 2

    async def test_releasing_what_is_no_longer_held_leaves_it_alone(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        old = await claim_one(store)
        clock.advance(LEASE)
        await store.sweep(max_attempts=9)
        new = await claim_one(store, "w2")
        before = await trace(store, "r")
        await store.release("w1", {old.task_id: old.lease_seq, 999_999: 1})
        await store.release("w1", {new.task_id: new.lease_seq})
        await store.release("w2", {new.task_id: old.lease_seq}, died=True)
        assert await trace(store, "r") == before

    # -- renew -----------------------------------------------------------------------------------------------------

    async def test_a_renewed_lease_lasts_longer(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        renewer = store.renewer()
        try:
            clock.advance(LEASE - 1)
            lost = await asyncio.to_thread(renewer.renew, "w1", {held.task_id: held.lease_seq}, LEASE)
            assert lost == frozenset()
            clock.advance(LEASE - 1)
            await store.sweep(max_attempts=9)
            assert (await commit_one(store, outcome(held))).status == "committed"
        finally:
            renewer.close()

    async def test_renewing_reports_every_lease_that_is_lost_and_keeps_the_others(
        self, store: Store, clock: FakeClock
    ) -> None:
        await store.create_run(new_run("r", "a", "b", "c"))
        a, b, c = await claim(store)
        await commit_one(store, outcome(a))
        await store.release("w1", {b.task_id: b.lease_seq})
        await claim_one(store, "w2")
        renewer = store.renewer()
        try:
            wanted = {a.task_id: a.lease_seq, b.task_id: b.lease_seq, c.task_id: c.lease_seq, 999_999: 1}
            assert await asyncio.to_thread(renewer.renew, "w1", wanted, LEASE) == {a.task_id, b.task_id, 999_999}
            assert await asyncio.to_thread(renewer.renew, "w3", {c.task_id: c.lease_seq}, LEASE) == {c.task_id}
        finally:
            renewer.close()

    async def test_a_lapsed_lease_that_nobody_has_swept_can_still_be_renewed_and_committed(
        self, store: Store, clock: FakeClock
    ) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        clock.advance(LEASE * 3)
        assert (await commit_one(store, outcome(held))).status == "committed"


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
        chained = f"{a.task_id}.{a.lease_seq}"
        second = outcome(b, expected=2, after=chained, tasks=[new_task("joined")])
        await store.change(Change("r", [note("from outside")]))  # raises the version to what `second` expects
        assert [r.status for r in await commit(store, first, second)] == ["conflict", "conflict"]
        assert (await commit_one(store, outcome(a, expected=2))).status == "committed"
        assert (await commit_one(store, outcome(b, expected=3, after=chained))).status == "committed"

    async def test_an_unknown_event_type_fails_at_the_write_and_leaves_no_trace(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        before = await trace(store, "r")
        broken = outcome(held, expected=1, events=[note("first"), Draft(Unregistered())], tasks=[new_task("b")])
        with pytest.raises(CodecError, match="Unregistered"):
            await commit_one(store, broken)
        assert await trace(store, "r") == before
        assert (await commit_one(store, outcome(held, expected=1))).status == "committed"

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


class SweepSuite:
    """What time does to tasks and runs."""

    async def test_a_lapsed_lease_is_taken_back_and_its_holder_fenced(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        clock.advance(LEASE - 0.001)
        await store.sweep(max_attempts=3)
        assert await claim(store, "w2") == []
        clock.advance(0.001)
        await store.sweep(max_attempts=3)
        [task] = await store.tasks("r")
        assert (task.state, task.worker, task.attempt) == (TaskState.READY, None, 1)
        assert (await store.events("r"))[-1].payload == TaskReleased("lapsed", task.lease_seq)
        assert (await commit_one(store, outcome(held))).status == "fenced"
        assert (await claim_one(store, "w2")).attempt == 2

    async def test_sweeping_says_when_the_next_delayed_task_is_due(self, store: Store, clock: FakeClock) -> None:
        assert await store.sweep(max_attempts=3) is None
        await store.create_run(new_run("r", new_task("a", delay_seconds=9.0), new_task("b", delay_seconds=4.0)))
        assert await store.sweep(max_attempts=3) == pytest.approx(4)
        clock.advance(4)
        assert await store.sweep(max_attempts=3) == pytest.approx(5)

    async def test_a_task_that_waits_for_an_answer_is_left_alone(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", new_task("a", held=True)))
        clock.advance(1e6)
        assert await store.sweep(max_attempts=3) is None
        assert [t.state for t in await store.tasks("r")] == [TaskState.WAITING]

    async def test_a_run_past_its_deadline_ends_in_error(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a", "b", deadline_seconds=30.0))
        [held] = await claim(store, limit=1)
        clock.advance(29)
        await store.sweep(max_attempts=99)
        assert (await store.run("r")).status is RunStatus.RUNNING
        clock.advance(1)
        await store.sweep(max_attempts=99)
        row = await store.run("r")
        assert (row.status, row.error) == (RunStatus.ERROR, "The run reached its deadline.")
        last = (await store.events("r"))[-1].payload
        assert isinstance(last, RunErrored)
        assert last.code == "run_timed_out"
        assert (await commit_one(store, outcome(held))).status == "fenced"
        seq = row.last_seq
        await store.sweep(max_attempts=99)
        assert (await store.run("r")).last_seq == seq

    async def test_a_task_whose_holders_keep_dying_is_quarantined_and_its_run_fails(
        self, store: Store, clock: FakeClock
    ) -> None:
        await store.create_run(new_run("r", "a"))
        for _ in range(3):
            await claim_one(store)
            clock.advance(LEASE)
            await store.sweep(max_attempts=3)
        [task] = await store.tasks("r")
        row = await store.run("r")
        assert (task.state, row.status) == (TaskState.FAILED, RunStatus.ERROR)
        assert "3 workers died" in (task.error or "")
        assert [type(e.payload) for e in (await store.events("r"))[-2:]] == [TaskQuarantined, RunErrored]
        await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        assert (await claim_one(store)).attempt == 1
        clock.advance(LEASE)
        await store.sweep(max_attempts=3)
        assert (await store.run("r")).status is RunStatus.RUNNING  # the deaths are counted anew as well

    async def test_a_known_death_counts_towards_quarantine(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.release("w1", {held.task_id: held.lease_seq}, died=True)
        await claim_one(store)
        clock.advance(LEASE)
        await store.sweep(max_attempts=2)
        assert (await store.run("r")).status is RunStatus.ERROR

    async def test_several_lapsed_tasks_of_one_run_end_it_once(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a", "b", "c"))
        await claim(store)
        clock.advance(LEASE)
        await store.sweep(max_attempts=1)
        ends = [event for event in await store.events("r") if isinstance(event.payload, RunErrored)]
        assert len(ends) == 1
        assert sorted(t.state for t in await store.tasks("r")) == [TaskState.FAILED, TaskState.READY, TaskState.READY]

    async def test_any_number_of_processes_may_sweep(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        await claim_one(store)
        clock.advance(LEASE)
        await asyncio.gather(*(store.sweep(max_attempts=9) for _ in range(5)))
        released = [event for event in await store.events("r") if isinstance(event.payload, TaskReleased)]
        assert len(released) == 1


class TasksSuite(ClaimSuite, CommitSuite, SweepSuite):
    """What a store says of tasks and leases."""
