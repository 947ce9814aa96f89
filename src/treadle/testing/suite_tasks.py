"""The contract of `ports.store.Tasks` as tests: claims, leases, and what sweeping does. Commits have their own file."""

from __future__ import annotations

import asyncio

import pytest

from treadle.domain.events import (
    RunErrored,
    TaskClaimed,
    TaskQuarantined,
    TaskReleased,
)
from treadle.domain.task import AGEING_SECONDS, RunStatus, TaskState
from treadle.ports.store import Change, Store
from treadle.testing.clock import FakeClock
from treadle.testing.samples import (
    GRAPH,
    LEASE,
    claim,
    claim_one,
    commit_one,
    ending,
    new_run,
    new_task,
    note,
    outcome,
    trace,
)
from treadle.testing.suite_commits import CommitSuite


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

    async def test_a_claim_brings_the_first_event_only_of_a_run_in_which_nothing_else_has_happened(
        self, store: Store
    ) -> None:
        for run_id in ("fresh", "changed", "released"):
            await store.create_run(new_run(run_id, "a"))
        await store.change(Change("changed", events=[note("from outside")], expected=1))
        [released] = [c for c in await claim(store, graphs=[GRAPH]) if c.run_id == "released"]
        await store.release("w1", {released.task_id: released.lease_seq})
        again = await claim(store, graphs=[GRAPH])
        assert [(c.run_id, c.start) for c in again] == [("released", None)]
        await store.create_run(new_run("fresh again", "a"))
        await store.create_run(new_run("changed again", "a"))
        await store.change(Change("changed again", events=[note("from outside")], expected=1))
        starts = {c.run_id: c.start for c in await claim(store, graphs=[GRAPH])}
        assert starts["changed again"] is None
        assert starts["fresh again"] in (None, (await store.events("fresh again"))[0])

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

    async def test_who_has_waited_long_enough_comes_before_a_higher_priority(
        self, store: Store, clock: FakeClock
    ) -> None:
        await store.create_run(new_run("r", new_task("old")))
        clock.advance(2 * AGEING_SECONDS - 1)
        await store.create_run(new_run("s", new_task("urgent", priority=2)))
        clock.advance(2)
        await store.create_run(new_run("t", new_task("late", priority=2)))
        assert [c.activation for c in await claim(store)] == ["urgent", "old", "late"]

    async def test_a_task_given_back_keeps_its_place(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        clock.advance(AGEING_SECONDS + 1)
        await store.create_run(new_run("s", new_task("b", priority=1)))
        await store.release("w1", {held.task_id: held.lease_seq})
        assert [c.activation for c in await claim(store)] == ["a", "b"]

    async def test_a_delay_is_no_waiting(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", new_task("delayed", delay_seconds=9.0)))
        clock.advance(8)
        await store.create_run(new_run("s", "first"))
        clock.advance(1)
        await store.sweep(max_attempts=3)
        assert [c.activation for c in await claim(store)] == ["first", "delayed"]

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
            lost = await asyncio.to_thread(renewer.renew, "w1", {held.task_id: held.lease_seq}, LEASE, LEASE)
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
            assert await asyncio.to_thread(renewer.renew, "w1", wanted, LEASE, LEASE) == {a.task_id, b.task_id, 999_999}
            assert await asyncio.to_thread(renewer.renew, "w3", {c.task_id: c.lease_seq}, LEASE, LEASE) == {c.task_id}
        finally:
            renewer.close()

    async def test_a_lapsed_lease_that_nobody_has_swept_can_still_be_renewed_and_committed(
        self, store: Store, clock: FakeClock
    ) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        clock.advance(LEASE * 3)
        assert (await commit_one(store, outcome(held))).status == "committed"


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
