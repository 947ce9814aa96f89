"""The contract of `ports.store.Runs` as tests: creating, changing, reading and removing runs."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from treadle.domain.events import (
    Draft,
    InterruptAnswered,
    LogWritten,
    RunCancelled,
    RunPaused,
    RunStarted,
    TaskCancelled,
)
from treadle.domain.task import RunStatus, TaskState
from treadle.errors import CodecError, Conflict, NotFound
from treadle.ports.store import Change, Store, TaskMove
from treadle.testing.clock import FakeClock
from treadle.testing.samples import (
    GRAPH,
    Unregistered,
    claim,
    claim_one,
    commit_one,
    effect,
    ending,
    new_run,
    new_task,
    note,
    outcome,
    trace,
)


class RunsSuite:
    """What a store says of runs and their log."""

    # -- create_run ------------------------------------------------------------------------------------------------

    async def test_the_history_of_a_run_is_its_version_and_its_whole_log(self, store: Store) -> None:
        for run_id in ("r", "s"):
            await store.create_run(new_run(run_id, "a"))
        await store.change(Change("r", [note("x" * 20_000), note("small")]))
        for run_id in ("r", "s"):
            version, events = await store.history(run_id)
            assert (version, events) == ((await store.run(run_id)).version, await store.events(run_id))
        both = await asyncio.gather(store.history("s"), store.history("r"), store.history("s"))
        assert [events[0].run_id for _, events in both] == ["s", "r", "s"]
        results = await asyncio.gather(store.history("nobody"), store.history("r"), return_exceptions=True)
        assert isinstance(results[0], NotFound) and not isinstance(results[1], BaseException)

    async def test_a_new_run_is_running_at_version_1_with_its_tasks_ready(self, store: Store) -> None:
        result = await store.create_run(new_run("r", "a", "b"))
        row = await store.run("r")
        assert (result.status, result.version, result.claims) == ("committed", 1, ())
        assert (row.status, row.version, row.last_seq, row.graph) == (RunStatus.RUNNING, 1, 1, GRAPH)
        assert [(t.activation, t.state, t.attempt, t.lease_seq) for t in await store.tasks("r")] == [
            ("a", TaskState.READY, 0, 0),
            ("b", TaskState.READY, 0, 0),
        ]

    async def test_a_run_keeps_what_its_starter_said_of_it(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(
            new_run("r", "a", tenant="t", project="p", labels={"goal": "tea"}, deadline_seconds=60.0)
        )
        row = await store.run("r")
        assert (row.tenant, row.project, row.labels) == ("t", "p", {"goal": "tea"})
        assert (row.created_at, row.deadline) == (clock.now(), clock.now() + 60)
        [event] = await store.events("r")
        assert (event.tenant, event.project, event.at, event.run_id) == ("t", "p", clock.now(), "r")

    async def test_creating_a_run_twice_answers_conflict_and_changes_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        before = await trace(store, "r")
        again = await store.create_run(new_run("r", "b", worker="w1", labels={"x": "y"}))
        assert (again.status, again.claims) == ("conflict", ())
        assert await trace(store, "r") == before

    async def test_the_creating_worker_is_handed_the_tasks_marked_lease(self, store: Store, clock: FakeClock) -> None:
        tasks = [new_task("a", lease=True), new_task("b"), new_task("c", lease=True)]
        result = await store.create_run(new_run("r", *tasks, worker="w1"))
        assert [(c.activation, c.attempt, c.lease_seq, c.graph) for c in result.claims] == [
            ("a", 1, 1, GRAPH),
            ("c", 1, 1, GRAPH),
        ]
        first, second, _ = await store.tasks("r")
        assert (first.state, first.worker, first.lease_until) == (TaskState.LEASED, "w1", clock.now() + 10)
        assert second.state is TaskState.READY
        assert [c.activation for c in await claim(store, "w2")] == ["b"]

    async def test_without_a_worker_nothing_is_handed_on(self, store: Store) -> None:
        result = await store.create_run(new_run("r", new_task("a", lease=True)))
        assert result.claims == ()
        assert [c.activation for c in await claim(store)] == ["a"]

    async def test_a_run_whose_first_tasks_all_wait_for_answers_is_waiting(self, store: Store) -> None:
        result = await store.create_run(new_run("r", new_task("a", held=True)))
        assert result.run_status is RunStatus.WAITING
        assert (await store.run("r")).status is RunStatus.WAITING
        await store.create_run(new_run("s", new_task("a", held=True), new_task("b")))
        assert (await store.run("s")).status is RunStatus.RUNNING

    async def test_a_run_may_be_created_ended(self, store: Store) -> None:
        result = await store.create_run(new_run("r", status=RunStatus.DONE))
        assert result.run_status is RunStatus.DONE
        assert (await store.run("r")).status is RunStatus.DONE

    async def test_an_imported_event_keeps_its_time(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a", events=[Draft(RunStarted(), at=5.0), note("now")]))
        assert [event.at for event in await store.events("r")] == [5.0, clock.now()]

    async def test_an_unknown_event_type_fails_at_the_write_and_no_run_is_there(self, store: Store) -> None:
        with pytest.raises(CodecError, match="Unregistered"):
            await store.create_run(new_run("r", "a", events=[Draft(RunStarted()), Draft(Unregistered())]))
        with pytest.raises(NotFound):
            await store.run("r")
        assert (await store.create_run(new_run("r", "a"))).status == "committed"

    async def test_a_log_with_two_events_under_one_journal_key_is_refused_and_no_run_is_there(
        self, store: Store
    ) -> None:
        twice = [effect("a", "k").draft, effect("a", "k", b"2").draft]
        with pytest.raises(Conflict):
            await store.create_run(new_run("r", "a", events=twice))
        assert await store.runs() == []

    # -- change ----------------------------------------------------------------------------------------------------

    async def test_a_change_raises_the_version_by_one_and_appends_its_events(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        assert await store.change(Change("r", [note("one")], expected=1)) == 2
        assert await store.change(Change("r", [note("two"), note("three")])) == 3
        row = await store.run("r")
        assert (row.version, row.last_seq) == (3, 4)

    async def test_a_change_against_an_old_version_raises_conflict_and_changes_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        await store.change(Change("r", [], expected=1))
        before = await trace(store, "r")
        with pytest.raises(Conflict, match="version 2"):
            await store.change(
                Change("r", [note("late")], expected=1, status=RunStatus.CANCELLED, budgets={"tokens": 1}, graph="x@1")
            )
        assert await trace(store, "r") == before

    async def test_a_change_for_other_states_raises_conflict_and_changes_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        before = await trace(store, "r")
        with pytest.raises(Conflict, match="running"):
            await store.change(Change("r", [note("no")], only_if=frozenset({RunStatus.ERROR}), paused=True))
        assert await trace(store, "r") == before
        await store.change(Change("r", [], only_if=frozenset({RunStatus.RUNNING, RunStatus.WAITING})))

    async def test_changing_a_run_that_is_not_there_raises_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound, match="'nobody'"):
            await store.change(Change("nobody", []))

    async def test_a_change_with_an_unknown_event_type_changes_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        before = await trace(store, "r")
        with pytest.raises(CodecError):
            await store.change(Change("r", [note("first"), Draft(Unregistered())], status=RunStatus.CANCELLED))
        assert await trace(store, "r") == before
        assert await store.change(Change("r", [note("later")])) == 2

    async def test_a_paused_run_gives_out_no_tasks_until_it_is_resumed(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        await store.change(Change("r", [Draft(RunPaused())], paused=True, status=RunStatus.WAITING))
        row = await store.run("r")
        assert (row.paused, row.status) == (True, RunStatus.WAITING)
        assert await claim(store) == []
        await store.change(Change("r", [], paused=False, status=RunStatus.RUNNING))
        assert [c.activation for c in await claim(store)] == ["a"]

    async def test_what_runs_in_a_paused_run_may_finish_but_nothing_is_handed_on(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.change(Change("r", [], paused=True, status=RunStatus.WAITING))
        result = await commit_one(store, outcome(held, tasks=[new_task("b", lease=True)]))
        assert (result.status, result.claims) == ("committed", ())
        assert [t.state for t in await store.tasks("r")] == [TaskState.READY]
        assert await claim(store) == []

    async def test_a_waiting_task_is_made_ready_by_its_activation(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a", held=True), new_task("b", held=True)))
        answered = Draft(InterruptAnswered("interrupt:0"), "a", "interrupt:0")
        await store.change(Change("r", [answered], ready=["a"], status=RunStatus.RUNNING))
        assert [c.activation for c in await claim(store)] == ["a"]
        assert [(t.activation, t.state) for t in await store.tasks("r")] == [
            ("a", TaskState.LEASED),
            ("b", TaskState.WAITING),
        ]

    async def test_a_failed_task_made_ready_starts_counting_anew_but_its_lease_seq_goes_on(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        first = await claim_one(store)
        await commit_one(store, ending(first, RunStatus.ERROR))
        await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        again = await claim_one(store)
        assert again.attempt == 1
        assert again.lease_seq > first.lease_seq
        assert (await store.run("r")).error is None

    async def test_making_ready_what_is_leased_or_gone_does_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.change(Change("r", [], ready=["a", "never-there"]))
        assert await claim(store, "w2") == []
        assert (await commit_one(store, outcome(held))).status == "committed"

    async def test_a_second_answer_under_one_key_raises_conflict_and_the_first_stands(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a", held=True)))
        first, second = (
            Draft(InterruptAnswered("interrupt:0", msgspec.Raw(value)), "a", "interrupt:0") for value in (b"1", b"2")
        )
        await store.change(Change("r", [first], ready=["a"], status=RunStatus.RUNNING))
        before = await trace(store, "r")
        with pytest.raises(Conflict):
            await store.change(Change("r", [note("me too"), second], ready=["a"], status=RunStatus.RUNNING))
        assert await trace(store, "r") == before

    async def test_a_run_set_running_while_all_its_tasks_wait_for_answers_is_waiting(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a", held=True)))
        await store.change(Change("r", [], paused=True, status=RunStatus.WAITING))
        await store.change(Change("r", [], paused=False, status=RunStatus.RUNNING))
        assert (await store.run("r")).status is RunStatus.WAITING

    async def test_cancelling_cancels_every_live_task_and_says_so(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", new_task("b", held=True), new_task("c", delay_seconds=5.0)))
        await claim(store)
        cancelled = Draft(RunCancelled("enough"))
        await store.change(Change("r", [cancelled], status=RunStatus.CANCELLED, error="enough"))
        row = await store.run("r")
        assert (row.status, row.error) == (RunStatus.CANCELLED, "enough")
        assert await store.tasks("r") == []
        said = [event.activation for event in await store.events("r") if isinstance(event.payload, TaskCancelled)]
        assert sorted(filter(None, said)) == ["a", "b", "c"]

    async def test_cancelling_fences_out_who_holds_a_task(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.change(Change("r", [], status=RunStatus.CANCELLED))
        before = await trace(store, "r")
        result = await commit_one(store, outcome(held, tasks=[new_task("b")], status=RunStatus.DONE))
        assert (result.status, result.run_status) == ("fenced", RunStatus.CANCELLED)
        assert await trace(store, "r") == before

    async def test_limits_of_budgets_can_be_changed(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 10}))
        await store.change(Change("r", [], budgets={"tokens": 20, "money": 1}))
        assert [(b.kind, b.limit, b.spent, b.reserved) for b in await store.budgets("r")] == [
            ("money", 1, 0, 0),
            ("tokens", 20, 0, 0),
        ]

    async def test_a_run_can_be_pinned_to_another_graph(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        await store.change(Change("r", [], graph="sample@2"))
        assert (await store.run("r")).graph == "sample@2"
        assert await claim(store, graphs=[GRAPH]) == []
        assert [c.graph for c in await claim(store, graphs=["sample@2"])] == ["sample@2"]

    # -- reading ---------------------------------------------------------------------------------------------------

    async def test_events_are_numbered_without_gaps_and_come_in_pages(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        for number in range(9):
            await store.change(Change("r", [note(str(number))]))
        everything = await store.events("r")
        assert [event.seq for event in everything] == list(range(1, 11))
        assert [event.seq for event in await store.events("r", after=3)] == [4, 5, 6, 7, 8, 9, 10]
        assert [event.seq for event in await store.events("r", after=3, until=6)] == [4, 5, 6]
        assert [event.seq for event in await store.events("r", after=3, limit=2)] == [4, 5]
        assert [event.seq for event in await store.events("r", after=3, until=4, limit=2)] == [4]
        assert await store.events("r", after=10) == []
        assert await store.events("r", after=6, until=3) == []
        assert await store.events("r", until=-1) == []

    async def test_an_event_comes_back_with_its_whole_envelope(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        clock.advance(2.5)
        await store.change(Change("r", [Draft(LogWritten("hello", {"n": 1}), "a", None)]))
        event = (await store.events("r"))[-1]
        assert (event.seq, event.at, event.type, event.version) == (2, clock.now(), "LogWritten", 1)
        assert (event.activation, event.step) == ("a", None)
        assert event.payload == LogWritten("hello", {"n": 1})

    async def test_a_payload_of_any_size_comes_back_whole(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        sizes = (100, 8 * 1024 - 40, 8 * 1024, 8 * 1024 + 40, 300_000)
        for size in sizes:
            await store.change(Change("r", [note("x" * size)]))
        await store.change(Change("r", [note("x" * 300_000)]))  # the same content once more
        written = [e.payload for e in await store.events("r", after=1)]
        assert [len(p.message) for p in written if isinstance(p, LogWritten)] == [*sizes, 300_000]

    async def test_reading_a_run_that_is_not_there_raises_not_found(self, store: Store) -> None:
        for read in (store.run, store.events, store.tasks, store.budgets, store.delete_run):
            with pytest.raises(NotFound):
                await read("nobody")
        with pytest.raises(NotFound):
            await store.journal("nobody", "a")

    async def test_runs_are_listed_newest_first_by_prefix_and_status(self, store: Store, clock: FakeClock) -> None:
        for run_id in ("ab1", "ab2", "cd1", "a%1"):
            await store.create_run(new_run(run_id, "a"))
            clock.advance(1)
        await store.change(Change("ab1", [], status=RunStatus.CANCELLED))
        assert [row.run_id for row in await store.runs()] == ["a%1", "cd1", "ab2", "ab1"]
        assert [row.run_id for row in await store.runs(prefix="ab")] == ["ab2", "ab1"]
        assert [row.run_id for row in await store.runs(prefix="a%")] == ["a%1"]
        assert [row.run_id for row in await store.runs(status=frozenset({RunStatus.CANCELLED}))] == ["ab1"]
        assert [row.run_id for row in await store.runs(limit=2)] == ["a%1", "cd1"]

    async def test_what_changes_a_run_shows_in_its_time_of_update(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a"))
        clock.advance(3)
        held = await claim_one(store)
        assert (await store.run("r")).updated_at == clock.now()
        clock.advance(3)
        await commit_one(store, outcome(held, tasks=[new_task("b")]))
        row = await store.run("r")
        assert (row.created_at, row.updated_at) == (clock.now() - 6, clock.now())

    # -- delete_run ------------------------------------------------------------------------------------------------

    async def test_a_run_that_goes_on_cannot_be_removed(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        before = await trace(store, "r")
        with pytest.raises(Conflict, match="running"):
            await store.delete_run("r")
        assert await trace(store, "r") == before

    async def test_a_removed_run_is_gone_and_its_id_is_free(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b", budgets={"tokens": 5}))
        await store.create_run(new_run("other", "a"))
        first, second = [c for c in await claim(store) if c.run_id == "r"]
        await store.record("r", "a", effect("a", "k"))
        await commit_one(store, ending(first, RunStatus.ERROR))
        await store.delete_run("r")
        for read in (store.run, store.events, store.tasks, store.budgets):
            with pytest.raises(NotFound):
                await read("r")
        assert (await commit_one(store, outcome(second))).status == "fenced"
        assert len(await store.events("other")) == 2
        await store.create_run(new_run("r", "a"))
        assert await store.journal("r", "a") == []
        assert await store.budgets("r") == []
        assert [c.activation for c in await claim(store)] == ["a"]
        assert (await commit_one(store, outcome(first, move=TaskMove("done")))).status == "fenced"
