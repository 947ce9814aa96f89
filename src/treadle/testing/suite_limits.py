"""The contract of `ports.store.Limits` as tests: what claims leave alone, and when it becomes claimable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from treadle.domain.limit import Limit
from treadle.domain.task import AGEING_SECONDS, Claim, NewTask, RunStatus, TaskState
from treadle.errors import NotFound, UsageError
from treadle.ports.store import TASKS, Change, Store, TaskMove
from treadle.testing.clock import FakeClock
from treadle.testing.samples import LEASE, claim, commit, commit_one, ending, new_run, new_task, outcome

QUEUES = ("default", "mail")


def mail(activation: str, key: str | None = None, **changes: object) -> NewTask:
    return new_task(activation, queue="mail", key=key, **changes)


async def names(store: Store, *, limit: int = 10, worker: str = "w1", queues: Sequence[str] = QUEUES) -> list[str]:
    return [c.activation for c in await claim(store, worker, limit=limit, queues=queues)]


async def take(store: Store, worker: str = "w1", *, limit: int = 10) -> list[Claim]:
    return await claim(store, worker, limit=limit, queues=QUEUES)


class ConcurrencySuite:
    """So many of a queue at once, and so many of a key."""

    async def test_no_more_of_a_queue_are_leased_than_its_limit(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=2))
        await store.create_run(new_run("r", *(mail(f"m{n}") for n in range(5)), "free"))
        assert sorted(await names(store)) == ["free", "m0", "m1"]
        assert await names(store, worker="w2") == []

    async def test_a_smaller_claim_takes_the_first_of_all_queues(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=2))
        await store.create_run(new_run("r", mail("m0"), "a", mail("m1"), "b", mail("m2")))
        assert await names(store, limit=3) == ["m0", "a", "m1"]
        assert await names(store, limit=3) == ["b"]

    async def test_priority_counts_within_a_limit(self, store: Store, clock: FakeClock) -> None:
        await store.set_limit(Limit("mail", concurrency=1))
        await store.create_run(new_run("r", mail("low"), mail("high", priority=2), "plain"))
        assert await names(store, limit=1) == ["high"]
        clock.advance(AGEING_SECONDS)

    @pytest.mark.parametrize("how", ["done", "failed", "ready", "waiting", "released", "lapsed", "cancelled", "error"])
    async def test_whatever_ends_a_lease_makes_room(self, store: Store, clock: FakeClock, how: str) -> None:
        await store.set_limit(Limit("mail", concurrency=1))
        await store.create_run(new_run("r", mail("m0", priority=-5)))
        [held] = await take(store)
        await store.create_run(new_run("s", mail("m1")))
        assert await names(store) == []
        if how in ("done", "ready", "waiting"):
            move = TaskMove(how, 60.0 if how == "waiting" else None)  # type: ignore[arg-type]
            await commit_one(store, outcome(held, move=move, status=RunStatus.DONE if how == "done" else None))
        elif how in ("failed", "error"):
            await commit_one(store, ending(held, RunStatus.ERROR))
        elif how == "released":
            await store.release("w1", {held.task_id: held.lease_seq})
        elif how == "lapsed":
            clock.advance(LEASE)
            await store.sweep(max_attempts=9)
        else:
            await store.change(Change("r", [], status=RunStatus.CANCELLED))
        assert await names(store) == ["m1"]

    async def test_a_task_of_a_limited_queue_is_not_handed_on_but_claimed(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=1))
        entry = [mail("m0", lease=True), new_task("a", lease=True)]
        created = await store.create_run(new_run("r", *entry, worker="w1"))
        assert [c.activation for c in created.claims] == ["a"]
        tasks = [mail("m1", lease=True), new_task("b", lease=True), mail("m2", lease=True), new_task("c", lease=True)]
        result = await commit_one(store, outcome(created.claims[0], tasks=tasks))
        assert [c.activation for c in result.claims] == ["b", "c"]
        assert await names(store) == ["m0"]
        held = {t.activation for t in await store.tasks("r") if t.state is TaskState.LEASED}
        assert held == {"m0", "b", "c"}

    async def test_no_more_of_a_key_are_leased_than_the_limit_per_key(self, store: Store) -> None:
        await store.set_limit(Limit("mail", per_key=1))
        tasks = [mail(f"a{n}", "ann") for n in range(30)] + [mail("b0", "bob"), mail("b1", "bob"), mail("x"), mail("y")]
        await store.create_run(new_run("r", *tasks))
        claims = await take(store)
        assert [c.activation for c in claims] == ["a0", "b0", "x", "y"]
        assert await names(store, worker="w2") == []
        await commit(store, outcome(claims[1]), outcome(claims[2]))
        assert await names(store, worker="w2") == ["b1"]

    async def test_keys_without_a_limit_and_keys_of_other_queues_do_not_count(self, store: Store) -> None:
        await store.set_limit(Limit("mail", per_key=1))
        await store.create_run(new_run("r", new_task("a", key="k"), new_task("b", key="k"), mail("m", "k")))
        assert sorted(await names(store)) == ["a", "b", "m"]

    async def test_all_limits_of_a_queue_hold_at_once(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=3, per_key=2))
        tasks = [mail(f"a{n}", "ann") for n in range(3)] + [mail(f"b{n}", "bob") for n in range(3)]
        await store.create_run(new_run("r", *tasks))
        assert await names(store) == ["a0", "a1", "b0"]

    async def test_a_limited_claim_is_narrowed_by_graph_and_node_type_too(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=1))
        await store.create_run(new_run("r", mail("a"), mail("b", node_type="editor")))
        await store.create_run(new_run("s", mail("c"), graph="other@1"))
        assert await claim(store, queues=QUEUES, graphs=[]) == []
        assert await claim(store, queues=QUEUES, node_types=["x"]) == []
        [only] = await claim(store, queues=QUEUES, node_types=["editor"])
        assert only.activation == "b"
        await commit_one(store, outcome(only))
        assert [c.activation for c in await claim(store, queues=QUEUES, graphs=["other@1"])] == ["c"]

    async def test_many_claimers_together_keep_the_limit(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=4, per_key=2))
        for run in range(10):
            await store.create_run(new_run(f"r{run}", *(mail(f"m{n}", f"k{n % 4}") for n in range(4))))
        rounds = await asyncio.gather(*(take(store, f"w{n}", limit=3) for n in range(8)))
        assert 1 <= sum(map(len, rounds)) <= 4
        [row] = await store.limits()
        assert row.held == sum(map(len, rounds))

    async def test_what_is_held_back_is_told_of_as_soon_as_there_is_room(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=1))
        await store.create_run(new_run("r", mail("m0"), mail("m1")))
        [held] = await take(store)
        assert await take(store) == []
        mark = await store.wait(TASKS, -1, 0)
        await commit_one(store, outcome(held))
        assert await asyncio.wait_for(store.wait(TASKS, mark, 30), 10) != mark


class RateSuite:
    """So many of a queue begun in so many seconds."""

    async def test_no_more_are_begun_within_the_time_than_the_rate_says(self, store: Store, clock: FakeClock) -> None:
        await store.set_limit(Limit("mail", rate=3, rate_seconds=60))
        await store.create_run(new_run("r", *(mail(f"m{n}") for n in range(9))))
        assert await names(store, limit=2) == ["m0", "m1"]
        clock.advance(20)
        assert await names(store) == ["m2"]
        clock.advance(39.9)
        assert await names(store) == []
        clock.advance(0.2)
        assert await names(store) == ["m3", "m4"]
        clock.advance(20)
        assert await names(store) == ["m5"]

    async def test_every_attempt_counts_whatever_becomes_of_it(self, store: Store, clock: FakeClock) -> None:
        await store.set_limit(Limit("mail", rate=2, rate_seconds=60))
        await store.create_run(new_run("r", mail("m0")))
        for _ in range(2):
            [held] = await take(store)
            await store.release("w1", {held.task_id: held.lease_seq})
        assert await names(store) == []
        clock.advance(60)
        assert await names(store) == ["m0"]

    async def test_rate_and_concurrency_hold_together(self, store: Store, clock: FakeClock) -> None:
        await store.set_limit(Limit("mail", concurrency=2, rate=3, rate_seconds=60))
        await store.create_run(new_run("r", *(mail(f"m{n}") for n in range(9))))
        first = await take(store)
        assert len(first) == 2
        await commit(store, *map(outcome, first))
        assert len(await take(store)) == 1
        clock.advance(60)
        assert len(await take(store)) == 1

    async def test_what_a_rate_holds_back_is_told_of_when_it_may_begin(self, store: Store, clock: FakeClock) -> None:
        await store.set_limit(Limit("mail", rate=1, rate_seconds=0.05))
        await store.create_run(new_run("r", mail("m0"), mail("m1")))
        assert await names(store) == ["m0"]
        mark = await store.wait(TASKS, -1, 0)
        assert await names(store) == []
        assert await asyncio.wait_for(store.wait(TASKS, mark, 30), 10) != mark
        clock.advance(0.05)
        assert await names(store) == ["m1"]


class LimitRowsSuite:
    """Setting, reading and removing."""

    async def test_limits_are_listed_by_queue_with_what_counts_against_them(self, store: Store) -> None:
        assert await store.limits() == []
        wide, narrow = Limit("mail", concurrency=5, rate=7, rate_seconds=60), Limit("gpu", per_key=1)
        await store.set_limit(wide)
        await store.set_limit(narrow)
        await store.create_run(new_run("r", mail("m0"), mail("m1")))
        await take(store)
        assert [(row.limit, row.held, row.begun) for row in await store.limits()] == [(narrow, 0, 0), (wide, 2, 2)]

    async def test_setting_a_limit_replaces_what_held_before(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=1))
        await store.set_limit(Limit("mail", concurrency=3))
        await store.create_run(new_run("r", *(mail(f"m{n}") for n in range(5))))
        assert len(await take(store)) == 3
        await store.set_limit(Limit("mail", concurrency=1))
        assert await take(store) == []

    async def test_a_limit_that_is_removed_holds_no_more(self, store: Store) -> None:
        await store.set_limit(Limit("mail", concurrency=1, rate=1, rate_seconds=60))
        await store.create_run(new_run("r", *(mail(f"m{n}") for n in range(5))))
        assert len(await take(store)) == 1
        await store.remove_limit("mail")
        assert len(await take(store)) == 4
        with pytest.raises(NotFound):
            await store.remove_limit("mail")

    @pytest.mark.parametrize(
        "limit", [Limit("mail"), Limit("mail", concurrency=0), Limit("", concurrency=1), Limit("mail", rate=-1),
                  Limit("mail", rate=1, rate_seconds=0), Limit("mail", per_key=2**31)],
    )  # fmt: skip
    async def test_a_limit_that_cannot_be_is_refused(self, store: Store, limit: Limit) -> None:
        with pytest.raises(UsageError):
            await store.set_limit(limit)
        assert await store.limits() == []


class LimitsSuite(ConcurrencySuite, RateSuite, LimitRowsSuite):
    """What a store says of limits."""
