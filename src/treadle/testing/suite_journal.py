"""The contract of `ports.store.Journal`, `Blobs` and `Presence` as tests."""

from __future__ import annotations

import asyncio
import hashlib

import msgspec
import pytest

from treadle.domain.events import BudgetSettled, Draft, EffectStarted, StepRecorded, TreeShared, encode_payload
from treadle.domain.task import RunStatus, WorkerState
from treadle.errors import BudgetExceeded, CodecError, Conflict, NotFound
from treadle.ports.store import TASKS, Budget, Change, JournalEntry, Store, WorkerRow
from treadle.testing.clock import FakeClock
from treadle.testing.samples import (
    Unregistered,
    claim_one,
    commit_one,
    effect,
    new_run,
    new_task,
    note,
    outcome,
    trace,
)


class JournalSuite:
    """Effects and budgets."""

    async def test_the_first_record_of_a_key_wins_whoever_brings_it(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        first = await store.record("r", "a", effect("a", "k", b"1"))
        second = await store.record("r", "a", effect("a", "k", b"2"))
        assert isinstance(first.payload, StepRecorded) and isinstance(second.payload, StepRecorded)
        assert second.seq == first.seq == 2
        assert bytes(second.payload.result) == b"1"
        assert (await store.run("r")).last_seq == 2

    async def test_a_fresh_record_is_answered_with_the_payload_that_was_given(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        one, two = effect("a", "k"), effect("a", "k")
        assert (await store.record("r", "a", one)).payload is one.draft.payload
        assert (await store.record("r", "a", two)).payload is not two.draft.payload

    async def test_a_key_is_unique_per_activation_and_event_type(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b"))
        started = JournalEntry(Draft(EffectStarted("tool", "d"), "a", "k"))
        await store.record("r", "a", started)
        await store.record("r", "a", effect("a", "k"))
        await store.record("r", "b", effect("b", "k"))
        assert [event.type for event in await store.journal("r", "a")] == ["EffectStarted", "StepRecorded"]
        assert [event.activation for event in await store.journal("r", "b")] == ["b"]

    async def test_a_journal_holds_only_what_has_a_key_oldest_first(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        for key in ("z", "a", "m"):
            await store.record("r", "a", effect("a", key))
            await store.change(Change("r", [note("between", "a")]))
        assert [event.step for event in await store.journal("r", "a")] == ["z", "a", "m"]
        assert await store.journal("r", "b") == []

    async def test_a_large_result_comes_back_whole(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        large = msgspec.json.encode("y" * 50_000)
        await store.record("r", "a", effect("a", "k", large))
        again = await store.record("r", "a", effect("a", "k", b"2"))
        [event] = await store.journal("r", "a")
        assert isinstance(event.payload, StepRecorded) and isinstance(again.payload, StepRecorded)
        assert bytes(event.payload.result) == bytes(again.payload.result) == large

    async def test_recording_leaves_the_version_so_that_it_disturbs_no_plan(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        await store.record("r", "a", effect("a", "k"))
        assert (await commit_one(store, outcome(held, expected=1))).status == "committed"
        assert [event.seq for event in await store.events("r")] == [1, 2, 3, 4]

    async def test_recording_an_unknown_type_or_into_no_run_writes_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        before = await trace(store, "r")
        with pytest.raises(CodecError):
            await store.record("r", "a", JournalEntry(Draft(Unregistered(), "a", "k")))
        assert await trace(store, "r") == before
        with pytest.raises(NotFound):
            await store.record("nobody", "a", effect("a", "k"))

    # -- budgets ---------------------------------------------------------------------------------------------------

    async def test_a_reservation_is_booked_against_the_limit(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 100}))
        await store.reserve("r", "a", "k1", {"tokens": 60})
        assert await store.budgets("r") == [Budget("tokens", 100, 0, 60)]
        with pytest.raises(BudgetExceeded, match="40 of 100"):
            await store.reserve("r", "a", "k2", {"tokens": 41})
        assert await store.budgets("r") == [Budget("tokens", 100, 0, 60)]
        await store.reserve("r", "b", "k1", {"tokens": 40})
        assert await store.budgets("r") == [Budget("tokens", 100, 0, 100)]

    async def test_reserving_is_idempotent_by_key(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 100}))
        for _ in range(3):
            await store.reserve("r", "a", "k", {"tokens": 60})
        assert await store.budgets("r") == [Budget("tokens", 100, 0, 60)]
        await store.reserve("r", "a", "k", {"tokens": 80})
        assert await store.budgets("r") == [Budget("tokens", 100, 0, 80)]

    async def test_a_refused_reservation_books_no_kind_at_all(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"money": 10, "tokens": 5}))
        with pytest.raises(BudgetExceeded):
            await store.reserve("r", "a", "k", {"money": 1, "tokens": 6})
        assert await store.budgets("r") == [Budget("money", 10, 0, 0), Budget("tokens", 5, 0, 0)]

    async def test_a_kind_without_a_limit_is_only_counted(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        await store.reserve("r", "a", "k", {"tokens": 1e9})
        await store.record("r", "a", effect("a", "k", settle={"tokens": 7}))
        assert await store.budgets("r") == [Budget("tokens", None, 7, 0)]

    async def test_settling_replaces_what_was_reserved_under_the_key(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 100}))
        await store.reserve("r", "a", "k1", {"tokens": 60})
        await store.reserve("r", "a", "k2", {"tokens": 30})
        await store.record("r", "a", effect("a", "k1", settle={"tokens": 25}))
        assert await store.budgets("r") == [Budget("tokens", 100, 25, 30)]
        settled = (await store.events("r"))[-1]
        assert settled.payload == BudgetSettled("tokens", 25, 25)
        assert settled.activation == "a"

    async def test_a_result_that_comes_twice_is_settled_once(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 100}))
        await store.reserve("r", "a", "k", {"tokens": 60})
        await store.record("r", "a", effect("a", "k", settle={"tokens": 25}))
        await store.record("r", "a", effect("a", "k", settle={"tokens": 25}))
        assert await store.budgets("r") == [Budget("tokens", 100, 25, 0)]

    async def test_nothing_is_reserved_for_what_is_recorded(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 10}))
        await store.reserve("r", "a", "k", {"tokens": 4})
        await store.record("r", "a", effect("a", "k", settle={"tokens": 3}))
        await store.reserve("r", "a", "k", {"tokens": 4})  # by a worker that has lost its lease
        assert await store.budgets("r") == [Budget("tokens", 10, 3, 0)]

    async def test_many_at_once_never_book_more_than_the_limit(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 10}))
        tries = [store.reserve("r", f"n{n}", "k", {"tokens": 3}) for n in range(8)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(result is None for result in results) == 3
        assert await store.budgets("r") == [Budget("tokens", 10, 0, 9)]

    async def test_a_run_that_has_ended_reserves_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", budgets={"tokens": 10}))
        await store.reserve("r", "a", "k", {"tokens": 8})
        await store.change(Change("r", [], status=RunStatus.CANCELLED))
        assert await store.budgets("r") == [Budget("tokens", 10, 0, 0)]
        with pytest.raises(Conflict, match="has ended"):
            await store.reserve("r", "b", "k", {"tokens": 1})  # by a worker that has not heard of it
        await store.reserve("r", "a", "k", {"tokens": 0})  # its call has failed; that much it may say
        assert await store.budgets("r") == [Budget("tokens", 10, 0, 0)]

    async def test_a_run_in_error_keeps_what_calls_under_way_may_cost(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", "b", budgets={"tokens": 10}))
        await store.reserve("r", "a", "k", {"tokens": 8})
        await store.change(Change("r", [], status=RunStatus.ERROR))
        with pytest.raises(Conflict, match="has ended"):
            await store.reserve("r", "b", "k", {"tokens": 1})
        await store.change(Change("r", [], status=RunStatus.RUNNING))  # retried, while the call still goes on
        with pytest.raises(BudgetExceeded, match="2 of 10"):
            await store.reserve("r", "b", "k", {"tokens": 3})
        await store.record("r", "a", effect("a", "k", settle={"tokens": 8}))
        assert await store.budgets("r") == [Budget("tokens", 10, 8, 0)]

    async def test_reserving_in_no_run_raises_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            await store.reserve("nobody", "a", "k", {"tokens": 1})


class PresenceSuite:
    """Blobs, workers, wake-ups."""

    async def test_a_blob_is_kept_under_the_digest_of_its_content(self, store: Store) -> None:
        data = b"\x00\xff" * 10_000
        digest = await store.put_blob(data)
        assert digest == hashlib.sha256(data).hexdigest()
        assert await store.put_blob(data) == digest
        assert await store.get_blob(digest) == data
        assert await store.get_blob(await store.put_blob(b"")) == b""
        with pytest.raises(NotFound):
            await store.get_blob("0" * 64)

    async def test_a_kept_blob_outlives_a_removed_run_that_logged_the_same_bytes(self, store: Store) -> None:
        large = note("z" * 20_000)
        digest = await store.put_blob(encode_payload(large.payload))
        for run_id in ("r", "s"):
            await store.create_run(new_run(run_id, events=[large], status=RunStatus.DONE))
        await store.delete_run("r")
        assert (await store.events("s"))[0].payload == large.payload
        await store.delete_run("s")
        assert await store.get_blob(digest) == encode_payload(large.payload)

    async def test_a_blob_that_events_name_goes_with_the_last_of_them(self, store: Store) -> None:
        data = b"bundle" * 3_000
        digest = hashlib.sha256(data).hexdigest()
        shared = Draft(TreeShared("t", "c", blob=digest, bytes=len(data)), "@trees", "t")
        await store.create_run(new_run("r", status=RunStatus.DONE))
        event = await store.record("r", "@trees", JournalEntry(shared, blob=data))
        again = await store.record("r", "@trees", JournalEntry(shared, blob=b"of somebody who was late"))
        assert again == event and (await store.journal("r", "@trees")) == [event]
        await store.create_run(new_run("fork", events=[shared], status=RunStatus.DONE))
        await store.delete_run("r")
        assert await store.get_blob(digest) == data and (await store.events("fork"))[0].payload == shared.payload
        await store.delete_run("fork")
        with pytest.raises(NotFound):
            await store.get_blob(digest)

    async def test_workers_are_listed_by_name_with_what_they_say_until_they_leave(self, store: Store) -> None:
        said = WorkerRow(
            "w2", "höst", 7, 4, ("default", "gpu"), WorkerState.DRAINING, ("a",), ("g@1",), 12, 1, 3.5, 1.0, 2.0, False
        )  # fmt: skip
        await store.announce(said)
        await store.announce(WorkerRow("w1", "host", 8, 1, ("default",)))
        first, second = await store.workers()
        assert (first.worker, first.pid, first.state) == ("w1", 8, WorkerState.SERVING)
        told = msgspec.structs.replace(
            said, started_at=second.started_at, seen_at=second.seen_at, alive=True, held=0, knows=first.knows
        )
        assert second == told and second.started_at != 1.0
        await store.announce(WorkerRow("w1", "host", 8, 0, ("default",)))
        assert [row.worker for row in await store.workers()] == ["w2"]

    async def test_when_a_worker_began_and_was_seen_is_what_the_stores_clock_says(
        self, store: Store, clock: FakeClock
    ) -> None:
        began = clock.now()
        await store.announce(WorkerRow("w1", "host", 7, 4, ("default",), started_at=1.0, seen_at=2.0))
        clock.advance(5)
        await store.announce(WorkerRow("w1", "host", 7, 8, ("default",), started_at=3.0, seen_at=4.0))
        [row] = await store.workers()
        assert (row.started_at, row.seen_at, row.capacity) == (began, began + 5, 8)
        assert await store.now() == began + 5

    async def test_a_worker_not_seen_for_long_is_listed_only_while_it_holds_something(
        self, store: Store, clock: FakeClock
    ) -> None:
        for name in ("w1", "w2"):
            await store.announce(WorkerRow(name, "host", 7, 4, ("default",)))
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        clock.advance(3600)
        [row] = await store.workers()
        assert (row.worker, row.alive, row.held) == ("w1", False, 1)
        await store.release("w1", {held.task_id: held.lease_seq})
        assert await store.workers() == []

    async def test_what_is_leased_is_told_with_its_holder_and_since_when(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(new_run("r", "a", "b", new_task("waits", held=True)))
        [a] = await store.claim("w2", queues=["default"], limit=1, lease_seconds=10)
        clock.advance(3)
        [b] = await store.claim("w1", queues=["default"], limit=1, lease_seconds=10)
        found = await store.leased()
        assert [(row.worker, row.activation, row.attempt) for row in found] == [("w1", "b", 1), ("w2", "a", 1)]
        assert [row.leased_at for row in found] == [clock.now(), clock.now() - 3]
        assert await store.leased(limit=1) == found[:1]
        renewer = store.renewer()
        await asyncio.to_thread(renewer.renew, "w2", {a.task_id: a.lease_seq}, 60, 20)
        renewer.close()
        assert (await store.leased())[1].leased_at == clock.now() - 3
        await store.release("w2", {a.task_id: a.lease_seq})
        assert await store.leased() == found[:1]
        assert {row.activation: row.leased_at for row in await store.tasks("r")} == {
            "a": None, "b": clock.now(), "waits": None,
        }  # fmt: skip
        [result] = await store.commit([outcome(b, tasks=[new_task("c", lease=True)], expected=1)], lease_seconds=10)
        assert result.claims and [(row.activation, row.leased_at) for row in await store.leased()] == [
            ("c", clock.now())
        ]

    async def test_waiting_ends_when_a_task_becomes_ready(self, store: Store) -> None:
        mark = await store.wait(TASKS, -1, 0)
        waiting = asyncio.ensure_future(store.wait(TASKS, mark, 30))
        await asyncio.sleep(0)
        await store.create_run(new_run("r", "a"))
        assert await asyncio.wait_for(waiting, 10) != mark

    async def test_waiting_ends_when_a_run_has_new_events(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        mark = await store.wait("r", -1, 0)
        for write in (store.change(Change("r", [note("x")])), store.record("r", "a", effect("a", "k"))):
            waiting = asyncio.ensure_future(store.wait("r", mark, 30))
            await asyncio.sleep(0)
            await write
            mark, old = await asyncio.wait_for(waiting, 10), mark
            assert mark != old

    async def test_what_happened_since_the_mark_is_told_at_once(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        mark = await store.wait(TASKS, -1, 0)
        waiting = asyncio.ensure_future(store.wait(TASKS, mark, 30))
        await asyncio.sleep(0)
        await store.create_run(new_run("s", "a"))
        mark = await asyncio.wait_for(waiting, 10)
        await store.create_run(new_run("t", "a"))
        assert await asyncio.wait_for(store.wait(TASKS, mark, 30), 10) != mark

    async def test_the_end_of_a_run_wakes_who_waits_for_it(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        held = await claim_one(store)
        mark = await store.wait("r", -1, 0)
        waiting = asyncio.ensure_future(store.wait("r", mark, 30))
        await asyncio.sleep(0)
        await commit_one(store, outcome(held, status=RunStatus.DONE))
        await asyncio.wait_for(waiting, 10)

    async def test_a_task_handed_back_wakes_who_waits_for_tasks(self, store: Store) -> None:
        await store.create_run(new_run("r", "a", new_task("b", held=True)))
        held = await claim_one(store)
        for write in (
            store.release("w1", {held.task_id: held.lease_seq}),
            store.change(Change("r", [], ready=["b"], status=RunStatus.RUNNING)),
        ):
            mark = await store.wait(TASKS, -1, 0)
            waiting = asyncio.ensure_future(store.wait(TASKS, mark, 30))
            await asyncio.sleep(0)
            await write
            await asyncio.wait_for(waiting, 10)

    async def test_who_has_seen_nothing_yet_is_told_to_look_at_once(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        for topic in ("r", TASKS):
            assert await asyncio.wait_for(store.wait(topic, 0, 30), 10) != 0

    async def test_waiting_for_nothing_ends_after_its_timeout(self, store: Store) -> None:
        mark = await store.wait("r", -1, 0)
        assert await asyncio.wait_for(store.wait("r", mark, 0.01), 10) == mark

    async def test_opening_and_closing_may_be_repeated(self, store: Store) -> None:
        await store.open()
        await store.create_run(new_run("r", "a"))
        await store.close()
        await store.close()

    async def test_a_fresh_store_has_all_migrations_and_nothing_is_left_to_apply(self, store: Store) -> None:
        found = await store.schema()
        assert found.schema == found.knows and found.pending == ()
        assert await store.migrate() == await store.migrate(post=True) == []

    async def test_vacuuming_loses_nothing(self, store: Store) -> None:
        await store.create_run(new_run("r", "a"))
        await store.create_run(new_run("gone", status=RunStatus.DONE))
        await store.delete_run("gone")
        before = await trace(store, "r")
        await store.vacuum()
        assert await trace(store, "r") == before
