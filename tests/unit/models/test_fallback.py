"""The models of a tier, in order."""

from __future__ import annotations

import pytest
from asked import REQUEST, SlowModel, in_virtual_time

from treadle.errors import ConfigError, ModelError, ModelUnavailable, RateLimited, Refused, UnknownName
from treadle.models.wrappers.fallback import Fallback
from treadle.models.wrappers.wrapper import BEGUN_ANEW

TIER = "tier 'small'"


def test_the_first_that_answers_answers_and_the_reply_says_why_not_those_before() -> None:
    models = [
        ("a", SlowModel([ModelUnavailable("not reached")])),
        ("b", SlowModel([Refused("wrong key")])),
        ("c", SlowModel(["here"])),
        ("d", SlowModel(["never"])),
    ]
    reply = in_virtual_time(Fallback(TIER, models).reply(REQUEST))
    assert (reply.text, reply.passed_over) == ("here", ("a: not reached", "b: wrong key"))
    assert models[3][1].asked_at == []


def test_when_the_first_answers_there_is_nothing_to_say() -> None:
    reply = in_virtual_time(Fallback(TIER, [("a", SlowModel()), ("b", SlowModel())]).reply(REQUEST))
    assert reply.passed_over == ()


def test_when_all_are_down_one_error_lists_each_and_why() -> None:
    errors = [RateLimited("too many", retry_after_seconds=9.0), UnknownName("model", "b", ["bb"]), ModelError("<html>")]
    models = [(name, SlowModel([error])) for name, error in zip("abc", errors, strict=True)]
    with pytest.raises(ModelUnavailable) as caught:
        in_virtual_time(Fallback(TIER, models).reply(REQUEST))
    said = str(caught.value)
    assert said.splitlines() == [
        "No model of tier 'small' answered:",
        "  - a: too many",
        "  - b: There is no model 'b'.",
        "  - c: <html>",
    ]
    assert "b: Did you mean 'bb'?" in caught.value.hint
    assert caught.value.retry_after_seconds == 9.0


def test_a_single_models_own_error_comes_as_it_is() -> None:
    with pytest.raises(Refused, match="wrong key"):
        in_virtual_time(Fallback(TIER, [("a", SlowModel([Refused("wrong key")]))]).reply(REQUEST))


def test_a_part_that_was_seen_is_not_followed_by_anothers_answer() -> None:
    models = [("a", SlowModel([ModelUnavailable("cut")], says_first="half")), ("b", SlowModel(["whole"]))]
    seen: list[str] = []
    with pytest.raises(ModelUnavailable, match="cut"):
        in_virtual_time(Fallback(TIER, models).reply(REQUEST, on_delta=seen.append))
    assert seen == ["half"]
    told: list[str] = []
    assert in_virtual_time(Fallback(TIER, models, may_begin_anew=True).reply(REQUEST, on_delta=told.append))
    assert told == ["half", BEGUN_ANEW, "whole"]


def test_a_mistake_in_the_program_is_nobody_elses_to_answer() -> None:
    models = [("a", SlowModel([TypeError("our own")])), ("b", SlowModel())]
    with pytest.raises(TypeError):
        in_virtual_time(Fallback(TIER, models).reply(REQUEST))


def test_a_tier_without_models_is_refused() -> None:
    with pytest.raises(ConfigError, match="no model for tier 'small'"):
        Fallback(TIER, [])
