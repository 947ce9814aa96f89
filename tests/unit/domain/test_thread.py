"""A thread is folded from its events, and shows a model what fits."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.domain.messages import ToolCall, Usage
from treadle.domain.recorded import approval_of
from treadle.domain.thread import (
    AssistantMessage,
    Condensed,
    SystemMessage,
    Thread,
    ThreadEvent,
    ToolResponse,
    UserMessage,
)


def turn(number: int, said: str = "x" * 2000) -> list[ThreadEvent]:
    id = f"c{number}"
    return [
        AssistantMessage("", usage=Usage(10, 5), cost=0.01),
        ToolCall(id, "read_file", {"path": f"f{number}"}),
        ToolResponse(id, said, seconds=1.0),
    ]


def long_thread(turns: int = 5) -> Thread:
    thread = Thread([SystemMessage("You are."), UserMessage("Do it.")])
    for number in range(turns):
        thread.extend(turn(number))
    return thread


def test_events_fold_into_messages_calls_and_spending() -> None:
    thread = Thread([SystemMessage("You are."), UserMessage("Do it."), *turn(0, "text"), AssistantMessage("Done.")])
    assert [(message.role, message.content) for message in thread.messages()] == [
        ("system", "You are."), ("user", "Do it."), ("assistant", ""), ("tool", "text"), ("assistant", "Done."),
    ]  # fmt: skip
    assert thread.messages()[2].tool_calls[0].id == thread.messages()[3].tool_call_id == "c0"
    assert (thread.steps, thread.usage.total, thread.cost, thread.seconds) == (2, 15, 0.01, 1.0)
    assert thread.answer == "Done."


def test_calls_are_open_until_they_have_a_response() -> None:
    thread = Thread([UserMessage("Do it."), AssistantMessage(""), ToolCall("a", "one", {}), ToolCall("b", "two", {})])
    assert [call.id for call in thread.open_calls] == ["a", "b"]
    thread.apply(ToolResponse("a", "1"))
    assert [call.id for call in thread.open_calls] == ["b"]


def test_an_id_that_a_model_gives_twice_is_made_unique() -> None:
    thread = Thread([UserMessage("Do it."), *turn(0)])
    assert thread.call_id("c0", 0) == "call_1_0"
    assert thread.call_id("other", 0) == "other"


def test_shortening_leaves_head_and_tail_of_old_outputs_and_the_events_whole() -> None:
    thread = long_thread()
    before = thread.tokens()
    upto = thread.boundary(2)
    assert thread.can_shorten(upto)
    thread.apply(Condensed(upto))
    told = [message.content for message in thread.messages() if message.role == "tool"]
    assert [len(text) < 600 for text in told] == [True, True, True, False, False]
    assert "1600 characters were taken out" in told[0]
    assert thread.tokens() < before
    assert not thread.can_shorten(upto)
    assert sum(len(event.text) for event in thread.events if isinstance(event, ToolResponse)) == 10_000


def test_a_summary_takes_the_place_of_turns_but_never_of_what_was_asked() -> None:
    thread = long_thread()
    thread.apply(Condensed(thread.boundary(2), "Read f0 to f2."))
    told = [(message.role, message.content[:60]) for message in thread.messages()]
    assert told[:2] == [("system", "You are."), ("user", "Do it.\n\nWhat was done so far:\nRead f0 to f2.")]
    assert [role for role, _ in told[2:]] == ["assistant", "tool"] * 2
    again = Thread(thread.events)
    assert again.messages() == thread.messages()
    assert again.digest() == thread.digest()


def test_what_was_asked_last_stays_when_a_summary_covers_it() -> None:
    thread = long_thread(2)
    thread.extend([AssistantMessage("Done."), UserMessage("Now the other thing.")])
    for number in range(10, 15):
        thread.extend(turn(number))
    thread.apply(Condensed(thread.boundary(2), "Much."))
    assert any("Now the other thing." in message.content for message in thread.messages())
    assert len(thread.turns_since_asked) == 5


def test_a_text_that_takes_many_tokens_a_character_is_counted_as_what_it_took() -> None:
    thread = Thread([UserMessage("Read it."), AssistantMessage("", usage=Usage(2000, 1)), ToolCall("a", "read", {})])
    thread.apply(ToolResponse("a", "漢" * 3000))
    guessed = thread.tokens()
    thread.apply(AssistantMessage("ok", usage=Usage(5000, 1)))
    assert guessed < 1100 and 2900 <= thread.tokens() < 3300


def test_what_describes_the_tools_is_not_taken_for_text() -> None:
    thread = Thread([UserMessage("x" * 900), AssistantMessage("ok", usage=Usage(5000, 1))])
    assert thread.tokens() < 400


@pytest.mark.parametrize("answer", [True, "yes", " OK ", "approve", {"approved": True}, {"allow": "yes"}])
def test_a_clear_yes_is_one(answer: Any) -> None:
    assert approval_of("a", answer).allowed


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (False, ""), (None, ""), ("no", ""), ("", ""), (1, "1"), ("yes, if you must", "yes, if you must"),
        ({"approved": False, "reason": "too early"}, "too early"), ({"text": "yes"}, ""), (["yes"], "['yes']"),
    ],
)  # fmt: skip
def test_everything_else_is_a_no_with_its_words_as_the_reason(answer: Any, reason: str) -> None:
    approval = approval_of("a", answer)
    assert not approval.allowed
    assert approval.reason == reason
