"""The limits of a service hold whatever comes, and hold nothing back for longer than they must."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from asked import REQUEST, SlowModel, in_virtual_time
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.domain.inventory import Service
from treadle.domain.messages import ModelReply, ModelRequest, Usage
from treadle.errors import ConfigError, ModelUnavailable
from treadle.models.wrappers.limited import WINDOW_SECONDS, Limited, Limiter
from treadle.ports.model import OnDelta


class Metered:
    """Takes the time and the tokens that the request's last message names, and keeps a record."""

    provider = "metered"

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, int]] = []

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        seconds, tokens = (float(word) for word in request.messages[-1].content.split())
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.calls.append((began, asyncio.get_running_loop().time(), int(tokens)))
        return ModelReply("done", request.model, usage=Usage(0, int(tokens)))

    async def close(self) -> None: ...


def request(seconds: float, tokens: int, most: int) -> ModelRequest:
    return replace(REQUEST, messages=(replace(REQUEST.messages[0], content=f"{seconds} {tokens}"),), max_tokens=most)


ASKS = st.lists(
    st.tuples(
        st.floats(0, 90),  # comes so long after the one before
        st.floats(0, 100),  # takes so long
        st.integers(0, 40),  # takes so many tokens in the end
        st.booleans(),  # is given up half way
    ),
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(ASKS, st.integers(1, 3), st.integers(1, 4), st.integers(50, 120))
def test_no_minute_sees_more_than_allowed(
    asks: list[tuple[float, float, int, bool]], concurrency: int, requests: int, tokens: int
) -> None:
    inner = Metered()

    async def all_of_them() -> None:
        limits = {"concurrency": concurrency, "requests_per_minute": requests, "tokens_per_minute": tokens}
        limiter = Limiter("s", **limits)
        model = Limited(inner, limiter)
        async with asyncio.TaskGroup() as group:
            for gap, seconds, used, is_given_up in asks:
                await asyncio.sleep(gap)
                group.create_task(one(model, seconds, used, is_given_up))

    async def one(model: Limited, seconds: float, used: int, is_given_up: bool) -> None:
        try:
            async with asyncio.timeout(seconds / 2 if is_given_up else None):
                await model.reply(request(seconds, used, 40))
        except TimeoutError:
            pass

    in_virtual_time(all_of_them())
    begins = sorted(begun for begun, _, _ in inner.calls)
    for at in begins:
        in_window = [other for other in begins if at <= other < at + WINDOW_SECONDS - 1e-6]
        assert len(in_window) <= requests
        assert sum(begun <= at < ended for begun, ended, _ in inner.calls) <= concurrency
        # Whatever overlaps a minute was at work, or had been within 60 s, when the last one in it began.
        assert (
            sum(taken for begun, ended, taken in inner.calls if begun <= at < ended + WINDOW_SECONDS - 1e-6) <= tokens
        )
    if not any(is_given_up for *_, is_given_up in asks):
        assert len(inner.calls) == len(asks)


def test_requests_at_once_are_bounded_and_come_in_turn() -> None:
    inner, order = SlowModel(seconds=1.0), list[int]()

    async def ask() -> None:
        model = Limited(inner, Limiter("s", concurrency=2))

        async def one(number: int) -> None:
            await model.reply(REQUEST)
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(6)))
        assert asyncio.get_running_loop().time() == 3.0

    in_virtual_time(ask())
    assert inner.most_at_once == 2
    assert order == [0, 1, 2, 3, 4, 5]


def test_the_third_request_of_two_a_minute_waits_for_the_first_to_leave() -> None:
    inner = SlowModel()

    async def ask() -> None:
        model = Limited(inner, Limiter("s", requests_per_minute=2))
        await model.reply(REQUEST)
        await asyncio.sleep(10.0)
        await asyncio.gather(*(model.reply(REQUEST) for _ in range(3)))

    in_virtual_time(ask())
    assert inner.asked_at == [0.0, 10.0, 60.0, 70.0]


def test_tokens_that_were_not_needed_are_given_back_at_once() -> None:
    inner = SlowModel(seconds=5.0, usage=Usage(3, 7))

    async def ask() -> None:
        model = Limited(inner, Limiter("s", tokens_per_minute=150))
        await asyncio.gather(*(model.reply(REQUEST) for _ in range(2)))  # each may take 103, and takes 10

    in_virtual_time(ask())
    assert inner.asked_at == [0.0, 5.0]


def test_a_failure_lets_the_next_one_in() -> None:
    inner = SlowModel([ModelUnavailable("gone"), "here"])

    async def ask() -> str:
        model = Limited(inner, Limiter("s", concurrency=1))
        with pytest.raises(ModelUnavailable):
            await model.reply(REQUEST)
        return (await model.reply(REQUEST)).text

    assert in_virtual_time(ask()) == "here"


def test_a_request_that_no_minute_has_room_for_is_refused_unasked() -> None:
    inner = SlowModel()
    with pytest.raises(ConfigError, match="may take 103 tokens, and tokens_per_minute is 100"):
        in_virtual_time(Limited(inner, Limiter("s", tokens_per_minute=100)).reply(REQUEST))
    assert inner.asked_at == []


@pytest.mark.parametrize("name", ["concurrency", "requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_lets_nothing_through_is_a_mistake(name: str, limit: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} of 'epyc.vllm' is {limit}") as caught:
        Limiter.of(replace(Service("epyc.vllm", "vllm"), **{name: limit}))
    assert f"leave {name} out" in caught.value.hint
