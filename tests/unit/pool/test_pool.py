"""The live pool over a server that counts bytes: order, failures, cancellation. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from driver import GB, LoopbackServer, ask, entry

from treadle.domain.inventory import Routing
from treadle.errors import ConfigError, ModelTooLarge, ModelUnavailable, UnknownName
from treadle.pool.agents import AgentPool, PoolConfig
from treadle.pool.pool import Pool
from treadle.testing.virtual_time import VirtualLoop

SIZES = {"big": 3.5, "mid": 2.0, "small": 1.0, "huge": 9.0}


def pool_over(server: LoopbackServer, config: PoolConfig | None = None, **more: Any) -> Pool:
    models = [entry(name.removesuffix("@served"), None, server.name) for name in server.sizes]
    return Pool({server.name: server}, models, config or PoolConfig(), **more)


def in_virtual_time(work: Callable[[], Awaitable[None]]) -> None:
    VirtualLoop().run(work())  # type: ignore[arg-type]


async def settled(turns: int = 50) -> None:
    """Let everything happen that needs no time."""
    for _ in range(turns):
        await asyncio.sleep(0)


def test_a_request_waits_for_its_model_and_is_told_its_own_name() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool, seen = pool_over(server), list[str]()
        reply = await pool.reply(ask("mid"), on_delta=seen.append)
        assert (reply.text, reply.model, seen) == ("well", "mid", ["well"])
        assert server.loads == ["mid@served"]
        await pool.close()
        assert server.closed

    in_virtual_time(work)


def test_requests_in_turn_for_two_models_cause_two_loadings() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = pool_over(server)
        await asyncio.gather(*(pool.reply(ask(name)) for _ in range(10) for name in ("big", "mid")))
        assert len(server.loads) == 2 and len(server.answered) == 20
        assert server.peak <= 4 * GB

    in_virtual_time(work)


def test_what_can_never_fit_is_refused_at_once_and_nobody_else_notices() -> None:
    async def work() -> None:
        pool = pool_over(LoopbackServer(SIZES, 4))
        began = asyncio.get_running_loop().time()
        with pytest.raises(ModelTooLarge, match=r"'huge' takes 9\.0 GB, and the largest device .* 4\.0 GB"):
            await pool.reply(ask("huge"))
        assert asyncio.get_running_loop().time() == began
        assert (await pool.reply(ask("small"))).text == "well"

    in_virtual_time(work)


def test_a_model_that_is_larger_than_was_thought_is_taken_out_again_and_told() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = Pool({server.name: server}, [entry("huge", 1.0), entry("small", 1.0)], PoolConfig())
        with pytest.raises(ModelTooLarge, match=r"takes 9\.0 GB"):
            await pool.reply(ask("huge"))
        assert server.loaded == {}
        assert (await pool.reply(ask("small"))).text == "well"

    in_virtual_time(work)


def test_sizes_that_nobody_tells_are_learnt_by_loading() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        server.tells_sizes = False
        pool = pool_over(server)
        await pool.reply(ask("small"))
        await pool.reply(ask("mid"))
        await pool.reply(ask("small"))
        await pool.reply(ask("mid"))
        assert server.loads == ["small@served", "mid@served", "small@served"]
        assert server.peak == 3 * GB

    in_virtual_time(work)


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_only() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        server.broken["big@served"] = ModelUnavailable("The file is unreadable.", hint="Fetch it again.")
        pool = pool_over(server)
        results = await asyncio.gather(
            *(pool.reply(ask(name)) for name in ("big", "mid", "big", "mid", "small")), return_exceptions=True
        )
        assert [isinstance(result, ModelUnavailable) for result in results] == [True, False, True, False, False]
        assert server.loads.count("big@served") == 1
        with pytest.raises(ModelUnavailable):
            await pool.reply(ask("big"))
        assert server.loads.count("big@served") == 2
        with pytest.raises(ModelUnavailable, match="left alone") as told:
            await pool.reply(ask("big"))
        assert server.loads.count("big@served") == 2
        assert told.value.retry_after_seconds and told.value.hint == "Fetch it again."
        assert "big" in pool.now().failing
        del server.broken["big@served"]
        await asyncio.sleep(5)
        assert (await pool.reply(ask("big"))).text == "well"
        assert pool.now().failing == {}

    in_virtual_time(work)


def test_a_driver_with_a_bug_wedges_nothing() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        server.broken["big@served"] = RuntimeError("oops")  # type: ignore[assignment]
        pool = pool_over(server)
        with pytest.raises(ModelUnavailable, match="RuntimeError: oops"):
            await pool.reply(ask("big"))
        assert (await pool.reply(ask("mid"))).text == "well"

    in_virtual_time(work)


def test_a_pinned_model_that_cannot_be_loaded_is_tried_again_later_not_all_the_time() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        server.broken["small@served"] = ModelUnavailable("No.")
        pool = pool_over(server, PoolConfig(pools={"o": AgentPool("o", ("small",), pinned=True)}))
        await pool.open()
        await asyncio.sleep(20)
        assert 3 <= len(server.loads) <= 5
        assert (await pool.reply(ask("mid"))).text == "well"
        server.broken.clear()
        await asyncio.sleep(30)
        assert "small@served" in server.loaded
        await pool.close()

    in_virtual_time(work)


def test_a_cancelled_request_gives_its_place_back() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = pool_over(server)
        first, second, third = (asyncio.ensure_future(pool.reply(ask("mid"))) for _ in range(3))
        await settled()
        second.cancel()
        await settled()
        assert pool.now().queues[0].count == 2
        await asyncio.gather(first, third)
        assert len(server.answered) == 2
        assert [line.kind for line in pool.log()].count("give_up") == 1

    in_virtual_time(work)


def test_a_request_cancelled_while_it_is_answered_frees_its_slot() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4, answer_s=100)
        pool = pool_over(server)
        endless = asyncio.ensure_future(pool.reply(ask("mid")))
        await asyncio.sleep(10)
        assert server.running["mid@served"] == 1
        endless.cancel()
        await settled()
        assert server.running["mid@served"] == 0
        assert (await pool.reply(ask("big"))).text == "well"

    in_virtual_time(work)


def test_cancelling_at_any_moment_leaks_no_slot() -> None:
    async def moment(turns: int) -> None:
        server = LoopbackServer(SIZES, 4, answer_s=0)
        pool = pool_over(server)
        await pool.reply(ask("mid"))
        doomed = asyncio.ensure_future(pool.reply(ask("mid")))
        for _ in range(turns):
            await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.wait([doomed])
        assert all(one.running == 0 for device in pool.now().devices for one in device.models)
        assert (await asyncio.wait_for(pool.reply(ask("mid")), 60)).text == "well"
        assert pool.now().queues == ()

    for turns in range(8):
        in_virtual_time(lambda turns=turns: moment(turns))  # type: ignore[misc]


def test_a_server_that_is_not_there_yet_is_asked_again_with_the_next_request() -> None:
    async def work() -> None:
        server, other = LoopbackServer(SIZES, 4), LoopbackServer({"remote": 1}, 2, name="other.gpu")
        server.gone = ModelUnavailable("Not there.")
        models = [entry("mid"), entry("remote", service="other.gpu")]
        pool = Pool({server.name: server, other.name: other}, models, PoolConfig())
        assert set(await pool.open()) == {"box.gpu"}
        with pytest.raises(ModelUnavailable, match="Not there"):
            await pool.reply(ask("mid"))
        assert (await pool.reply(ask("remote"))).text == "well"
        server.gone = None
        assert (await pool.reply(ask("mid"))).text == "well"

    in_virtual_time(work)


def test_after_a_restart_of_the_server_its_models_are_loaded_again() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = pool_over(server)
        await pool.reply(ask("mid"))
        server.crash()
        with pytest.raises(ModelUnavailable):
            await pool.reply(ask("mid"))
        with pytest.raises(ModelUnavailable, match="gone"):
            await pool.reply(ask("mid"))
        server.gone = None
        assert (await pool.reply(ask("mid"))).text == "well"
        assert server.loads == ["mid@served", "mid@served"]

    in_virtual_time(work)


def test_what_is_loaded_already_is_used() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        server.loaded["mid@served"] = 2 * GB
        pool = pool_over(server)
        await pool.reply(ask("mid"))
        assert server.loads == []
        await pool.reply(ask("big"))
        assert server.peak == round(3.5 * GB)

    in_virtual_time(work)


def test_a_tier_is_answered_by_the_model_that_would_answer_first() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        routing = Routing(tiers={"small": ("big", "mid"), "frontier": ("claude",)})
        pool = pool_over(server, routing=routing)
        await pool.reply(ask("mid"))
        assert (await pool.reply(ask("small"))).model == "mid"
        with pytest.raises(ConfigError, match="'frontier'"):
            await pool.reply(ask("frontier"))
        with pytest.raises(UnknownName, match="no model, tier or agent pool 'smal'"):
            await pool.reply(ask("smal"))

    in_virtual_time(work)


def test_what_is_expected_is_loaded_ahead_while_another_model_works() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4, answer_s=10)
        pool = pool_over(server)
        working = asyncio.ensure_future(pool.reply(ask("mid")))
        await asyncio.sleep(4)
        pool.expect("small", within_seconds=5)
        await asyncio.sleep(3)
        assert "small@served" in server.loaded and not working.done()
        await pool.reply(ask("small"))
        await working
        pool.expect("huge", within_seconds=5)  # can never be; nobody is hurt
        await asyncio.sleep(100)
        assert pool._tick is None

    in_virtual_time(work)


def test_somebody_who_sits_there_is_served_before_the_backlog() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = pool_over(server)
        backlog = [asyncio.ensure_future(pool.reply(ask("mid"))) for _ in range(20)]
        await asyncio.sleep(5)
        await pool.interactive().reply(ask("big"))
        assert sum(task.done() for task in backlog) < 4
        await asyncio.gather(*backlog)

    in_virtual_time(work)


def test_patience_ends_by_the_clock_when_nothing_else_happens() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4, answer_s=400)
        pool = pool_over(server, PoolConfig(pools={"m": AgentPool("m", ("mid",), slots=2)}))
        held = [asyncio.ensure_future(pool.reply(ask("mid")))]
        await asyncio.sleep(1)
        rare = asyncio.ensure_future(pool.reply(ask("big")))
        for _ in range(9):
            await asyncio.sleep(150)
            held.append(asyncio.ensure_future(pool.reply(ask("mid"))))
        await rare
        assert not held[-1].done()
        await asyncio.gather(*held)

    in_virtual_time(work)


def test_an_agent_pool_that_names_an_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownName, match="no model 'bigg'"):
        pool_over(LoopbackServer(SIZES, 4), PoolConfig(pools={"x": AgentPool("x", ("bigg",))}))


def test_closing_refuses_what_waits() -> None:
    async def work() -> None:
        pool = pool_over(LoopbackServer(SIZES, 4))
        waiting = asyncio.ensure_future(pool.reply(ask("mid")))
        await settled()
        await pool.close()
        with pytest.raises(ModelUnavailable, match="closed"):
            await waiting

    in_virtual_time(work)


def test_an_eviction_that_fails_leaves_its_model_in_service() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = pool_over(server)
        await pool.reply(ask("mid"))
        unload = server.unload

        async def fails(model: str) -> None:
            raise ModelUnavailable("It does not let go.")

        server.unload = fails  # type: ignore[method-assign]
        with pytest.raises(ModelUnavailable, match="does not let go"):
            await pool.reply(ask("big"))
        assert (await pool.reply(ask("mid"))).text == "well"
        server.unload = unload  # type: ignore[method-assign]
        await asyncio.sleep(5)
        assert (await pool.reply(ask("big"))).text == "well"
        assert server.loads == ["mid@served", "big@served"] and server.peak <= 4 * GB

    in_virtual_time(work)


def test_a_model_that_the_server_ended_by_itself_is_loaded_again_before_it_is_asked() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 4)
        pool = pool_over(server, PoolConfig(pools={"o": AgentPool("o", ("small",), pinned=True)}))
        await pool.reply(ask("mid"))
        await pool.reply(ask("small"))
        server.loaded.clear()
        await asyncio.sleep(35)
        assert set(server.loaded) == {"small@served"}, "what is pinned comes back by itself"
        assert (await pool.reply(ask("mid"))).text == "well"

    in_virtual_time(work)
