"""Retry arithmetic, the table of task moves, and what the closed list of event types refuses."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from treadle.domain.events import TYPES, LogWritten, NodeFinished, Payload, decode_payload, encode_payload, type_of
from treadle.domain.policy import NO_RETRY, RetryPolicy
from treadle.domain.task import TASK_MOVES, RunStatus, TaskState, check_move
from treadle.errors import CodecError, Conflict, ModelUnavailable, NotFound, Refused, StoreUnavailable, UsageError


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ValueError(), True),
        (OSError(), True),
        (StoreUnavailable(""), True),
        (ModelUnavailable(""), True),
        (Conflict(""), True),
        (TypeError(), False),
        (KeyError(), False),
        (AttributeError(), False),
        (NameError(), False),
        (SyntaxError(), False),
        (UsageError(""), False),
        (NotFound(""), False),
        (Refused(""), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_mistakes_and_wrong_requests_are_not_tried_again(error: BaseException, again: bool) -> None:
    assert RetryPolicy(max_attempts=2).retries(error, 1) is again


def test_attempts_are_limited_the_first_included() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert [policy.retries(ValueError(), attempt) for attempt in (1, 2, 3, 4)] == [True, True, False, False]
    assert not NO_RETRY.retries(ValueError(), 1)


def test_what_to_retry_is_said_by_types_or_by_a_function() -> None:
    assert RetryPolicy(retry_on=(OSError,)).retries(ConnectionError(), 1)
    assert not RetryPolicy(retry_on=(OSError,)).retries(ValueError(), 1)
    picky = RetryPolicy(retry_on=lambda error: "again" in str(error))
    assert picky.retries(ValueError("again"), 1)
    assert not picky.retries(ValueError("never"), 1)
    assert RetryPolicy(retry_on=(KeyError,), not_on=()).retries(KeyError(), 1)


def test_delays_grow_to_a_ceiling_and_jitter_only_adds() -> None:
    policy = RetryPolicy(initial_seconds=1, factor=2, max_seconds=5, jitter=0.5)
    assert [policy.delay_seconds(attempt, 0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, 5]
    assert policy.delay_seconds(1, 0.5) == 1.25
    assert policy.delay_seconds(100_000, 0) == 5


def test_every_move_of_the_table_is_allowed_and_no_other() -> None:
    for old, new in itertools.product(TaskState, TaskState):
        if new in TASK_MOVES[old]:
            check_move(old, new)
        else:
            with pytest.raises(UsageError, match="cannot go from"):
                check_move(old, new)


def test_a_task_that_ended_well_or_was_cancelled_never_moves_again() -> None:
    assert not TASK_MOVES[TaskState.DONE] and not TASK_MOVES[TaskState.CANCELLED]
    assert TASK_MOVES.keys() == set(TaskState)


def test_a_run_has_ended_when_it_is_done_failed_or_cancelled() -> None:
    assert {status for status in RunStatus if status.ended} == {RunStatus.DONE, RunStatus.ERROR, RunStatus.CANCELLED}


# -- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_event_type_survives_the_log(name: str) -> None:
    cls, version = TYPES[name]
    samples = {"str": "s", "int": 1, "float": 1.5, "Raw": msgspec.Raw(b'{"a":1}')}
    values = {}
    for field in msgspec.structs.fields(cls):
        if field.required:
            values[field.name] = samples[getattr(field.type, "__name__", "Raw")]
    payload = cls(**values)
    assert type_of(payload) == (name, version)
    back = decode_payload(name, version, encode_payload(payload))
    assert encode_payload(back) == encode_payload(payload)
    assert type(back) is cls


def test_an_event_type_that_is_not_of_the_list_cannot_be_written() -> None:
    class Invented(Payload, frozen=True):
        x: int = 1

    class NodeFinished2(NodeFinished, frozen=True):
        pass

    for stranger in (Invented(), NodeFinished2("n")):
        with pytest.raises(CodecError, match="not a registered event type"):
            type_of(stranger)


def test_a_type_or_version_from_the_future_cannot_be_read() -> None:
    for name, version in (("Invented", 1), ("LogWritten", 2)):
        with pytest.raises(CodecError, match=f"'{name}' version {version}"):
            decode_payload(name, version, encode_payload(LogWritten("x")))


def test_defaults_take_no_room_in_the_log() -> None:
    assert encode_payload(NodeFinished("n")) == b'{"node":"n"}'
