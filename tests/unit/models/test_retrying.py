"""Asking again: when, how often, and when not."""

from __future__ import annotations

import asyncio

import pytest
from asked import REQUEST, SlowModel, in_virtual_time

from treadle.domain.policy import RetryPolicy
from treadle.errors import CircuitOpen, ModelError, ModelUnavailable, RateLimited, Refused, UnknownName
from treadle.models.wrappers.retrying import POLICY, Retrying
from treadle.models.wrappers.wrapper import BEGUN_ANEW

GONE = ModelUnavailable("gone.")


def test_what_was_not_reached_is_asked_again_later_each_time() -> None:
    inner = SlowModel([GONE, GONE, GONE, "here"])
    reply = in_virtual_time(Retrying(inner, chance=lambda: 0.0).reply(REQUEST))
    assert reply.text == "here"
    assert inner.asked_at == [0.0, 0.5, 1.5, 3.5]


def test_the_last_error_says_how_often_it_was_asked() -> None:
    inner = SlowModel([RateLimited("too many.", retry_after_seconds=7.0)])
    with pytest.raises(RateLimited, match=r"too many\. It was asked 4 times in 21\.0 s\.") as caught:
        in_virtual_time(Retrying(inner, chance=lambda: 0.0).reply(REQUEST))
    assert caught.value.retry_after_seconds == 7.0
    assert "requests_per_minute" in caught.value.hint


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_the_servers_own_wait_is_never_cut_short(chance: float) -> None:
    inner = SlowModel([RateLimited("too many", retry_after_seconds=30.0), "here"])
    in_virtual_time(Retrying(inner, chance=lambda: chance).reply(REQUEST))
    assert 30.0 <= inner.asked_at[1] <= 30.5


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    inner = SlowModel([RateLimited("too many", retry_after_seconds=3600.0)])

    async def ask() -> float:
        with pytest.raises(RateLimited):
            await Retrying(inner).reply(REQUEST)
        return asyncio.get_running_loop().time()

    assert in_virtual_time(ask()) == 0.0
    assert len(inner.asked_at) == 1


def test_no_attempt_begins_after_the_deadline() -> None:
    inner = SlowModel([GONE], seconds=50.0)
    with pytest.raises(ModelUnavailable):
        in_virtual_time(Retrying(inner, RetryPolicy(max_attempts=99, retry_on=(ModelUnavailable,))).reply(REQUEST))
    assert max(inner.asked_at) <= 120.0
    assert len(inner.asked_at) == 3


@pytest.mark.parametrize(
    "error", [ModelError("no reply"), Refused("wrong key"), UnknownName("model", "m", ()), CircuitOpen("left alone")]
)
def test_what_would_end_the_same_is_not_asked_again(error: Exception) -> None:
    inner = SlowModel([error])
    with pytest.raises(type(error)):
        in_virtual_time(Retrying(inner).reply(REQUEST))
    assert len(inner.asked_at) == 1


def test_a_part_that_was_seen_is_not_followed_by_another_answer() -> None:
    inner, seen = SlowModel([GONE, "whole"], says_first="half"), list[str]()
    with pytest.raises(ModelUnavailable):
        in_virtual_time(Retrying(inner).reply(REQUEST, on_delta=seen.append))
    assert seen == ["half"]


def test_where_nobody_looks_a_broken_answer_is_asked_for_again() -> None:
    assert in_virtual_time(Retrying(SlowModel([GONE, "whole"], says_first="half")).reply(REQUEST)).text == "whole"


def test_people_are_told_that_the_text_begins_anew() -> None:
    inner, seen = SlowModel([GONE, "whole"], says_first="half"), list[str]()
    retrying = Retrying(inner, may_begin_anew=True)
    assert in_virtual_time(retrying.reply(REQUEST, on_delta=seen.append)).text == "whole"
    assert seen == ["half", BEGUN_ANEW, "whole"]


def test_cancelled_while_it_waits_it_asks_no_more() -> None:
    inner = SlowModel([GONE])

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await Retrying(inner, chance=lambda: 0.0).reply(REQUEST)

    in_virtual_time(give_up())
    assert inner.asked_at == [0.0, 0.5]


def test_the_policy_says_four_attempts() -> None:
    assert POLICY.max_attempts == 4
