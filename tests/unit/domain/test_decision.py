"""What an agent does next follows from its thread and its policy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from treadle.domain.decision import (
    Ask,
    AskApproval,
    Condense,
    Deny,
    Finish,
    Policy,
    RunTools,
    ToolRule,
    decide,
)
from treadle.domain.messages import ToolCall, Usage
from treadle.domain.thread import (
    Approval,
    AssistantMessage,
    Condensed,
    Thread,
    ThreadEvent,
    ToolResponse,
    UserMessage,
)


def of_path(args: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({args["path"]})


POLICY = Policy(
    {
        "read": ToolRule("allow", "none", of_path),
        "search": ToolRule("allow", "none", lambda args: frozenset()),
        "write": ToolRule("allow", "idempotent", of_path),
        "bash": ToolRule("ask", "at_most_once"),
        "rm": ToolRule("deny", "idempotent", of_path),
        "odd": ToolRule("ask", "none", of_path, lambda args: "" if "path" in args else "no path"),
        "done": ToolRule("allow", "none"),
    },
    ended_by="done",
)


def wanting(*calls: tuple[str, str]) -> Thread:
    made = [ToolCall(f"c{n}", name, {"path": path} if path else {}) for n, (name, path) in enumerate(calls)]
    return Thread([UserMessage("Do it."), AssistantMessage(""), *made])


def names(thread: Thread, policy: Policy = POLICY) -> list[str]:
    action = decide(thread, policy)
    assert isinstance(action, RunTools), action
    return [call.id for call in action.calls]


def repeated(*turns: tuple[str, str, str], asked: str = "Do it.") -> Thread:
    thread = Thread([UserMessage(asked)])
    for number, (name, path, said) in enumerate(turns):
        events: list[ThreadEvent] = [
            AssistantMessage(""), ToolCall(f"c{number}", name, {"path": path}),
            ToolResponse(f"c{number}", said, is_error=said.startswith("wrong")),
        ]  # fmt: skip
        thread.extend(events)
    return thread


def test_a_new_thread_asks_the_model() -> None:
    assert decide(Thread([UserMessage("Do it.")]), POLICY) == Ask()


def test_calls_that_only_look_run_side_by_side() -> None:
    assert names(wanting(("read", "a"), ("read", "a"), ("search", ""))) == ["c0", "c1", "c2"]


def test_writers_of_different_paths_run_side_by_side_and_those_of_one_in_turn() -> None:
    assert names(wanting(("write", "a"), ("write", "b"), ("write", "a"))) == ["c0", "c1"]
    assert names(wanting(("read", "a"), ("write", "a"))) == ["c0"]
    assert names(wanting(("write", "a"), ("read", "b"))) == ["c0", "c1"]


def test_what_looks_at_everything_does_not_run_beside_a_writer() -> None:
    assert names(wanting(("search", ""), ("write", "a"))) == ["c0"]


def test_a_call_that_may_touch_everything_runs_alone() -> None:
    policy = replace(POLICY, tools={**POLICY.tools, "bash": ToolRule("allow", "at_most_once")})
    assert names(wanting(("bash", ""), ("read", "a")), policy) == ["c0"]


def test_no_more_calls_run_at_once_than_the_policy_says() -> None:
    assert names(wanting(*[("read", "a")] * 5), replace(POLICY, max_parallel=2)) == ["c0", "c1"]


def test_a_call_that_waits_for_approval_lets_those_before_it_run_first() -> None:
    thread = wanting(("read", "a"), ("bash", ""))
    assert names(thread) == ["c0"]
    thread.apply(ToolResponse("c0", "text"))
    assert decide(thread, POLICY) == AskApproval(ToolCall("c1", "bash", {}))
    thread.apply(Approval("c1", True))
    assert names(thread) == ["c1"]


def test_a_refused_call_is_answered_with_the_reason() -> None:
    thread = wanting(("bash", ""))
    thread.apply(Approval("c0", False, "not today"))
    action = decide(thread, POLICY)
    assert isinstance(action, Deny) and "not today" in action.why


def test_a_denied_tool_stays_denied_whatever_was_approved() -> None:
    thread = wanting(("rm", "a"))
    thread.apply(Approval("c0", True))
    assert isinstance(decide(thread, POLICY), Deny)


def test_nobody_is_asked_about_a_call_that_cannot_be_made() -> None:
    assert names(wanting(("odd", ""))) == ["c0"]
    assert names(wanting(("no_such_tool", ""))) == ["c0"]


def test_an_approval_is_of_one_call_only() -> None:
    thread = wanting(("bash", ""))
    thread.extend([Approval("c0", True), ToolResponse("c0", "ok")])
    thread.extend([AssistantMessage(""), ToolCall("c9", "bash", {})])
    assert isinstance(decide(thread, POLICY), AskApproval)


def test_a_tool_that_ends_the_work_ends_it() -> None:
    thread = wanting(("done", ""))
    thread.apply(ToolResponse("c0", "All is well.", ends=True))
    assert decide(thread, POLICY) == Finish("done")
    assert thread.answer == "All is well."


def test_a_tool_that_ends_the_work_waits_for_the_calls_before_it_and_for_none_of_them_to_fail() -> None:
    thread = wanting(("read", "a"), ("done", ""))
    assert names(thread) == ["c0"]
    failed, worked = Thread(thread.events), Thread(thread.events)
    worked.apply(ToolResponse("c0", "text"))
    assert names(worked) == ["c1"]
    failed.apply(ToolResponse("c0", "There is no such file.", is_error=True))
    action = decide(failed, POLICY)
    assert isinstance(action, Deny) and action.call.name == "done"
    failed.apply(ToolResponse("c1", action.why, is_error=True, outcome="denied"))
    assert decide(failed, POLICY) == Ask()


def test_words_end_the_work_where_no_tool_does() -> None:
    thread = Thread([UserMessage("Why?"), AssistantMessage("Because.")])
    assert decide(thread, replace(POLICY, ended_by="")) == Finish("answered")


def test_words_are_sent_back_twice_where_a_tool_ends_the_work() -> None:
    thread = Thread([UserMessage("Do it.")])
    for number in range(2):
        thread.apply(AssistantMessage(f"I will. {number}"))
        action = decide(thread, POLICY)
        assert isinstance(action, Ask) and "call done" in action.notice
        thread.apply(UserMessage(action.notice, is_notice=True))
    thread.apply(AssistantMessage("I have."))
    assert decide(thread, POLICY) == Finish("answered")


def test_an_answer_that_cannot_be_used_is_said_to_be_so() -> None:
    thread = Thread([UserMessage("Do it."), AssistantMessage("{", flaw="it is no JSON")])
    assert decide(thread, POLICY) == Ask("That cannot be used: it is no JSON", 1)


def test_a_model_that_refuses_ends_the_work() -> None:
    thread = Thread([UserMessage("Do it."), AssistantMessage("I cannot.", finish_reason="refused")])
    assert decide(thread, POLICY) == Finish("refused", "I cannot.")


def test_limits_of_steps_tokens_money_and_seconds_end_the_work() -> None:
    thread = Thread([UserMessage("Do it."), AssistantMessage("", usage=Usage(80, 20), cost=0.5, seconds=9.0)])
    thread.extend([ToolCall("c", "read", {"path": "a"}), ToolResponse("c", "text", seconds=1.0)])
    for limit, reason in (
        ({"max_steps": 1}, "steps"), ({"max_tokens": 100}, "tokens"), ({"max_cost": 0.5}, "money"),
        ({"max_seconds": 10.0}, "seconds"),
    ):  # fmt: skip
        action = decide(thread, replace(POLICY, **limit))  # type: ignore[arg-type]
        assert isinstance(action, Finish) and action.reason == reason
    assert decide(thread, replace(POLICY, max_steps=2, max_tokens=101, max_cost=0.51, max_seconds=10.1)) == Ask()


def test_steps_are_counted_for_each_thing_that_is_asked() -> None:
    thread = repeated(("read", "a", "1"), ("read", "b", "2"))
    policy = replace(POLICY, max_steps=2)
    assert isinstance(decide(thread, policy), Finish)
    thread.apply(UserMessage("And now?"))
    assert decide(thread, policy) == Ask()


def test_the_same_call_again_is_told_after_three_and_ends_after_five() -> None:
    same = ("read", "a", "text")
    assert decide(repeated(same, same), POLICY) == Ask()
    told = decide(repeated(same, same, same), POLICY)
    assert isinstance(told, Ask) and "same again" in told.notice and told.variation == 1
    assert told.without == {"read"} and "call done if" in told.notice
    thread = repeated(same, same, same)
    for number in (3, 4):
        action = decide(thread, POLICY)
        assert isinstance(action, Ask)
        thread.extend([UserMessage(action.notice, is_notice=True), AssistantMessage("")])
        thread.extend([ToolCall(f"c{number}", "read", {"path": "a"}), ToolResponse(f"c{number}", "text")])
    ended = decide(thread, POLICY)
    assert isinstance(ended, Finish) and ended.reason == "loop"


def test_the_same_call_with_another_result_is_no_circle() -> None:
    assert decide(repeated(*[("read", "a", str(number)) for number in range(9)]), POLICY) == Ask()


def test_going_back_and_forth_is_a_circle() -> None:
    to, fro = ("write", "a", "wrote a"), ("write", "b", "wrote b")
    assert decide(repeated(to, fro, to, fro), POLICY) == Ask()
    told = decide(repeated(to, fro, to, fro, to), POLICY)
    assert isinstance(told, Ask) and "back and forth" in told.notice


def test_nothing_that_works_is_no_progress() -> None:
    wrong = [("read", f"f{number}", f"wrong {number}") for number in range(5)]
    assert decide(repeated(*wrong[:4]), POLICY) == Ask()
    told = decide(repeated(*wrong), POLICY)
    assert isinstance(told, Ask) and "none of your last 5" in told.notice


def test_a_full_context_is_shortened_then_summarised_and_at_last_ends_the_work() -> None:
    thread = repeated(*[("read", f"f{number}", f"{number}" * 3000) for number in range(6)])
    policy = replace(POLICY, context=4000, reserved=500)
    first = decide(thread, policy)
    assert first == Condense(thread.boundary(2), summarise=False)
    thread.apply(Condensed(thread.boundary(2)))
    assert decide(thread, policy) == Ask()
    small = replace(policy, context=2900)
    assert decide(thread, small) == Condense(thread.boundary(2), summarise=True)
    thread.apply(Condensed(thread.boundary(2), "Read f0 to f3."))
    assert decide(thread, small) == Ask()
    smaller = replace(policy, context=1500)
    assert decide(thread, smaller) == Condense(len(thread.events), summarise=False)
    thread.apply(Condensed(len(thread.events)))
    end = decide(thread, replace(policy, context=600))
    assert isinstance(end, Finish) and end.reason == "context"
