"""A service that keeps failing is left alone, and tried again."""

from __future__ import annotations

import asyncio
import time

import pytest
from asked import REQUEST, SlowModel, in_virtual_time

from treadle.errors import CircuitOpen, ConfigError, ModelError, ModelUnavailable, RateLimited
from treadle.models.wrappers.breaker import Breaker, Circuit
from treadle.ports.model import Model

GONE = ModelUnavailable("gone")


async def fails(model: Model, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ModelUnavailable):
            await model.reply(REQUEST)


def test_after_enough_failures_in_a_row_the_service_is_not_asked() -> None:
    inner, circuit = SlowModel([GONE]), Circuit("epyc.vllm", failures=3)

    async def ask() -> None:
        await fails(Breaker(inner, circuit), 3)
        with pytest.raises(CircuitOpen, match=r"epyc\.vllm failed 3 times in a row.*another 30 s.*Last: gone"):
            await Breaker(inner, circuit).reply(REQUEST)  # another model of the same service
        assert circuit.state == "open"

    in_virtual_time(ask())
    assert len(inner.asked_at) == 3


def test_an_answer_in_between_begins_the_count_anew() -> None:
    inner, circuit = SlowModel([GONE, GONE, "here", GONE, GONE, "here"]), Circuit("s", failures=3)

    async def ask() -> None:
        breaker = Breaker(inner, circuit)
        for _ in range(2):
            await fails(breaker, 2)
            await breaker.reply(REQUEST)

    in_virtual_time(ask())
    assert circuit.state == "closed"


def test_one_request_tries_it_after_the_rest_and_the_others_wait_for_what_comes_of_it() -> None:
    inner, circuit = SlowModel([GONE, "here"]), Circuit("s", failures=1)

    async def ask() -> list[str]:
        breaker = Breaker(inner, circuit)
        await fails(breaker, 1)
        await asyncio.sleep(30.0)
        inner.seconds = 2.0
        done = await asyncio.gather(*(breaker.reply(REQUEST) for _ in range(5)), return_exceptions=True)
        assert circuit.state == "closed"
        await breaker.reply(REQUEST)
        return [type(each).__name__ for each in done]

    assert in_virtual_time(ask()) == ["ModelReply", *["CircuitOpen"] * 4]
    assert len(inner.asked_at) == 3


def test_a_failed_trial_means_another_rest() -> None:
    inner, circuit = SlowModel([GONE]), Circuit("s", failures=2)

    async def ask() -> None:
        breaker = Breaker(inner, circuit)
        await fails(breaker, 2)
        for _ in range(3):
            await asyncio.sleep(30.0)
            assert circuit.state == "half-open"
            await fails(breaker, 1)
            assert circuit.state == "open"

    in_virtual_time(ask())
    assert len(inner.asked_at) == 5


def test_a_cancelled_trial_leaves_the_next_request_to_try() -> None:
    inner, circuit = SlowModel([GONE, "here"]), Circuit("s", failures=1)

    async def ask() -> None:
        breaker = Breaker(inner, circuit)
        await fails(breaker, 1)
        await asyncio.sleep(30.0)
        inner.seconds = 5.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await breaker.reply(REQUEST)
        assert (await breaker.reply(REQUEST)).text == "here"

    in_virtual_time(ask())


@pytest.mark.parametrize("error", [ModelError("nonsense"), RateLimited("too many")])
def test_a_server_that_answers_something_is_no_broken_one(error: Exception) -> None:
    circuit = Circuit("s", failures=1)
    with pytest.raises(type(error)):
        in_virtual_time(Breaker(SlowModel([error]), circuit).reply(REQUEST))
    assert circuit.state == "closed"


def test_a_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = Circuit("s", failures=1)

    async def ask() -> None:
        await fails(Breaker(SlowModel([GONE]), circuit), 1)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert circuit.state == "open"
        monkeypatch.setattr(time, "time", lambda: 0.0)
        await asyncio.sleep(30.0)
        assert circuit.state == "half-open"

    in_virtual_time(ask())


@pytest.mark.parametrize(("failures", "seconds"), [(0, 30.0), (3, 0.0)])
def test_a_circuit_that_could_never_close_is_refused(failures: int, seconds: float) -> None:
    with pytest.raises(ConfigError):
        Circuit("s", failures=failures, rest_seconds=seconds)
