"""The contract of `ports.store` on when a run begins, and which run may: delayed starts and dedup keys."""

from __future__ import annotations

import asyncio

import pytest

from treadle.domain.task import RunStatus, TaskState
from treadle.errors import Conflict, NotFound
from treadle.ports.store import Change, NewRun, Store
from treadle.testing.clock import FakeClock
from treadle.testing.samples import claim, claim_one, commit_one, ending, new_run, new_task, trace


def keyed(run_id: str, key: str = "order-17", **changes: object) -> NewRun:
    return new_run(run_id, "a", dedup=key, **changes)


def delayed(run_id: str, seconds: float = 60.0) -> NewRun:
    return new_run(run_id, new_task("a", delay_seconds=seconds), status=RunStatus.PENDING)


class DelaySuite:
    """Runs that begin later."""

    async def test_a_delayed_run_is_pending_until_it_is_due_and_swept(self, store: Store, clock: FakeClock) -> None:
        created = await store.create_run(delayed("r"))
        assert (created.status, created.run_status) == ("committed", RunStatus.PENDING)
        assert await store.sweep(max_attempts=3) == pytest.approx(60)
        assert (await store.run("r")).status is RunStatus.PENDING
        assert await claim(store) == []
        clock.advance(60)
        await store.sweep(max_attempts=3)
        assert (await store.run("r")).status is RunStatus.RUNNING
        held = await claim_one(store)
        assert (await commit_one(store, ending(held, RunStatus.DONE))).run_status is RunStatus.DONE

    async def test_pending_runs_are_listed_as_such(self, store: Store) -> None:
        await store.create_run(delayed("r"))
        await store.create_run(new_run("s", "a"))
        assert [row.run_id for row in await store.runs(status=frozenset({RunStatus.PENDING}))] == ["r"]

    async def test_a_pending_run_can_be_cancelled(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(delayed("r"))
        await store.change(Change("r", [], status=RunStatus.CANCELLED, only_if=frozenset({RunStatus.PENDING})))
        clock.advance(60)
        await store.sweep(max_attempts=3)
        assert (await store.run("r")).status is RunStatus.CANCELLED
        assert await store.tasks("r") == []

    async def test_a_pending_run_that_is_paused_when_it_is_due_waits(self, store: Store, clock: FakeClock) -> None:
        await store.create_run(delayed("r"))
        await store.change(Change("r", [], paused=True, status=RunStatus.WAITING))
        clock.advance(60)
        await store.sweep(max_attempts=3)
        assert ((await store.run("r")).status, await claim(store)) == (RunStatus.WAITING, [])
        await store.change(Change("r", [], paused=False, status=RunStatus.RUNNING))
        assert (await claim_one(store)).activation == "a"

    async def test_the_store_tells_its_time(self, store: Store, clock: FakeClock) -> None:
        assert await store.now() == pytest.approx(clock.now())
        clock.advance(5)
        assert await store.now() == pytest.approx(clock.now())


class DedupSuite:
    """One live run per key."""

    async def test_a_second_run_with_a_live_key_is_a_duplicate_and_is_not_created(self, store: Store) -> None:
        await store.create_run(keyed("r"))
        before = await trace(store, "r")
        second = await store.create_run(keyed("s", worker="w1"))
        assert (second.status, second.run_id, second.version, second.claims) == ("duplicate", "r", 1, ())
        assert second.run_status is RunStatus.RUNNING
        with pytest.raises(NotFound):
            await store.run("s")
        assert await trace(store, "r") == before

    async def test_other_keys_other_tenants_and_no_key_are_no_duplicates(self, store: Store) -> None:
        for run in (keyed("r"), keyed("s", "order-18"), keyed("t", tenant="b"), new_run("u", "a"), new_run("v", "a")):
            assert (await store.create_run(run)).status == "committed"

    async def test_a_run_created_twice_is_a_conflict_not_a_duplicate_of_itself(self, store: Store) -> None:
        await store.create_run(keyed("r"))
        assert (await store.create_run(keyed("r"))).status == "conflict"

    @pytest.mark.parametrize("status", [RunStatus.DONE, RunStatus.ERROR, RunStatus.CANCELLED])
    async def test_an_ended_run_gives_its_key_up(self, store: Store, status: RunStatus) -> None:
        await store.create_run(keyed("r"))
        if status is RunStatus.CANCELLED:
            await store.change(Change("r", [], status=status))
        else:
            await commit_one(store, ending(await claim_one(store), status))
        assert (await store.create_run(keyed("s"))).status == "committed"
        assert (await store.create_run(keyed("t"))).run_id == "s"

    async def test_a_delayed_or_paused_run_keeps_its_key(self, store: Store) -> None:
        await store.create_run(new_run("r", new_task("a", delay_seconds=9.0), status=RunStatus.PENDING, dedup="k"))
        await store.change(Change("r", [], paused=True, status=RunStatus.WAITING))
        assert (await store.create_run(keyed("s", "k"))).run_id == "r"

    async def test_a_failed_run_goes_on_only_while_no_other_has_its_key(self, store: Store) -> None:
        await store.create_run(keyed("r"))
        await commit_one(store, ending(await claim_one(store), RunStatus.ERROR))
        await store.create_run(keyed("s"))
        before = await trace(store, "r")
        with pytest.raises(Conflict, match="'s'"):
            await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        assert await trace(store, "r") == before
        await store.change(Change("s", [], status=RunStatus.CANCELLED))
        await store.change(Change("r", [], ready=["a"], status=RunStatus.RUNNING))
        assert [t.state for t in await store.tasks("r")] == [TaskState.READY]
        assert (await store.create_run(keyed("t"))).run_id == "r"

    async def test_of_many_at_once_one_is_created(self, store: Store) -> None:
        results = await asyncio.gather(*(store.create_run(keyed(f"r{n}", f"k{n % 3}")) for n in range(30)))
        created = [n for n, result in enumerate(results) if result.status == "committed"]
        assert sorted(n % 3 for n in created) == [0, 1, 2]
        assert {result.run_id for result in results if result.status == "duplicate"} == {f"r{n}" for n in created}


class StartsSuite(DelaySuite, DedupSuite):
    """What a store says of runs that begin later, and of those that must not begin twice."""
