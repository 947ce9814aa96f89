"""What an agent does next: a pure decision from its thread and its policy. Who carries it out is in `agents/`.

Nothing that a model or a file says reaches the policy: which tools there are, and what they may do, is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from treadle.domain.loops import circle_in
from treadle.domain.messages import ToolCall
from treadle.domain.thread import Thread, Turn

Approve = Literal["allow", "ask", "deny"]
"""Of a tool: its calls are made, made once somebody has agreed, or never made."""

Reason = Literal["done", "answered", "steps", "tokens", "money", "seconds", "loop", "context", "refused"]
"""Why an agent stops: it said that it is done, it answered in words, a limit was reached, it goes round in circles, its
context is full and cannot be condensed, or its model will not answer."""

_KEPT_TURNS = 2
"""Turns that are never condensed."""
_NUDGES = 2
"""Times that an answer without a call is sent back, where the work has to be ended with a tool."""
_LOOPS = 2
"""Times that a model is told that it goes round in circles."""
_CIRCLE = "You are not getting on"


@dataclass(frozen=True, slots=True)
class ToolRule:
    """What the loop has to know of a tool."""

    approve: Approve = "allow"
    effects: str = "at_most_once"
    resources: Callable[[Mapping[str, Any]], frozenset[str]] = lambda args: frozenset({"*"})
    problem: Callable[[Mapping[str, Any]], str] = lambda args: ""
    """What is wrong with arguments, in words; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The limits of one agent, and its tools."""

    tools: Mapping[str, ToolRule] = field(default_factory=dict)
    max_steps: int = 40
    """Answers of the model to one thing that it is asked. The limits below are those of the whole thread."""
    max_tokens: int | None = None
    """Input and output."""
    max_cost: float | None = None
    """USD, as far as prices are known."""
    max_seconds: float | None = None
    """That models and tools take."""
    max_parallel: int = 8
    """Calls at once."""
    context: int = 8192
    """Tokens that the model can see, its answer included."""
    reserved: int = 1024
    """Tokens of the context that the answer and what describes the tools take."""
    ended_by: str = ""
    """The tool that ends the work; empty: an answer without a call ends it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the model, after telling it something if there is something to tell."""

    notice: str = ""
    variation: int = 0
    """Grows each time that the same would come again: the answer is to be another one."""
    without: frozenset[str] = frozenset()
    """Tools that are not offered this once: they were called again and again, to no effect."""


@dataclass(frozen=True, slots=True)
class RunTools:
    """Make these calls, side by side if they are several."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Answer this call with why it is not made."""

    call: ToolCall
    why: str


@dataclass(frozen=True, slots=True)
class AskApproval:
    """Ask somebody whether this call may be made."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class Condense:
    """Show the model less of the events before number `upto`: a summary, or shortened outputs of tools."""

    upto: int
    summarise: bool


@dataclass(frozen=True, slots=True)
class Finish:
    """The agent has come to an end with what it was asked."""

    reason: Reason
    detail: str = ""


Action = Ask | RunTools | Deny | AskApproval | Condense | Finish


def decide(thread: Thread, policy: Policy) -> Action:
    """What comes next. The same thread and policy give the same action."""
    if thread.open_calls:
        return _about_calls(thread, policy)
    turns = thread.turns_since_asked
    ended = _ended(turns)
    if ended is not None:
        return ended
    limit = _limit(thread, turns, policy)
    if limit is not None:
        return limit
    notice = ""
    if turns:
        after = _after(thread, turns, policy)
        if isinstance(after, Finish):
            return after
        notice = after
    condense = _condense(thread, policy, len(notice) // 3)
    without = {call.name for call in turns[-1].calls} if notice.startswith(_CIRCLE) else set()
    return condense or Ask(notice, thread.notices_since_asked() + bool(notice), frozenset(without - {policy.ended_by}))


def _about_calls(thread: Thread, policy: Policy) -> Action:
    """The next calls that may run side by side, or what the first of them waits for."""
    batch: list[ToolCall] = []
    if _is_too_early(thread, policy):
        return Deny(thread.open_calls[0], "A call before this one failed. See to that, then say that you are done.")
    for call in thread.open_calls[: policy.max_parallel]:
        rule, approval = policy.tools.get(call.name), thread.approvals.get(call.id)
        is_ready = rule is None or bool(rule.problem(call.arguments)) or rule.approve == "allow"
        if rule is not None and not is_ready and not (rule.approve == "ask" and approval and approval.allowed):
            return RunTools(tuple(batch)) if batch else _held(call, rule, thread)
        if batch and (call.name == policy.ended_by or any(conflict(call, other, policy) for other in batch)):
            break
        batch.append(call)
    return RunTools(tuple(batch))


def _is_too_early(thread: Thread, policy: Policy) -> bool:
    """Whether the next call ends the work, and was asked for before it was seen that something had failed."""
    responses = thread.turns[-1].responses.values()
    return thread.open_calls[0].name == policy.ended_by and any(response.is_error for response in responses)


def _held(call: ToolCall, rule: ToolRule, thread: Thread) -> Action:
    approval = thread.approvals.get(call.id)
    if rule.approve == "deny":
        return Deny(call, f"The tool {call.name!r} may not be used here. Do without it.")
    if approval is None:
        return AskApproval(call)
    reason = f": {approval.reason}" if approval.reason else ""
    return Deny(call, f"This call was not allowed{reason}. Do something else.")


def conflict(one: ToolCall, other: ToolCall, policy: Policy) -> bool:
    """Whether two calls may not run side by side. Those that only look never conflict with each other."""
    first, second = policy.tools.get(one.name), policy.tools.get(other.name)
    if first is None or second is None:
        return False  # there is no such tool: it does nothing
    if first.effects == second.effects == "none":
        return False
    touched = _touched(first, one), _touched(second, other)
    return "*" in touched[0] or "*" in touched[1] or bool(touched[0] & touched[1])


def _touched(rule: ToolRule, call: ToolCall) -> frozenset[str]:
    if rule.problem(call.arguments):
        return frozenset()
    touched = rule.resources(call.arguments)
    return touched or frozenset({"*"} if rule.effects == "none" else ())


def _ended(turns: list[Turn]) -> Finish | None:
    if turns and any(response.ends for response in turns[-1].responses.values()):
        return Finish("done")
    if turns and turns[-1].finish_reason == "refused":
        return Finish("refused", turns[-1].text)
    return None


def _limit(thread: Thread, turns: list[Turn], policy: Policy) -> Finish | None:
    if _answers(turns, policy):
        return Finish("answered")
    if len(turns) >= policy.max_steps:
        return Finish("steps", f"{policy.max_steps} answers")
    if policy.max_tokens is not None and thread.usage.total >= policy.max_tokens:
        return Finish("tokens", f"{thread.usage.total} of {policy.max_tokens} tokens")
    if policy.max_cost is not None and thread.cost >= policy.max_cost:
        return Finish("money", f"{thread.cost:.4f} of {policy.max_cost:g} USD")
    if policy.max_seconds is not None and thread.seconds >= policy.max_seconds:
        return Finish("seconds", f"{thread.seconds:.0f} of {policy.max_seconds:g} s")
    return None


def _answers(turns: list[Turn], policy: Policy) -> bool:
    """Whether the last turn is an answer in words, with which the work is over."""
    if not turns or turns[-1].calls or turns[-1].flaw or not turns[-1].text.strip():
        return False
    without = sum(not turn.calls for turn in turns)
    return not policy.ended_by or without > _NUDGES


def _after(thread: Thread, turns: list[Turn], policy: Policy) -> str | Finish:
    """What the model has to be told about its last turn, if anything; or that this leads nowhere."""
    last = turns[-1]
    circle = circle_in(turns)
    if circle:
        if thread.notices_since_asked(_CIRCLE) >= _LOOPS:
            return Finish("loop", circle)
        or_end = f", or call {policy.ended_by} if the work is done" if policy.ended_by else ""
        return f"{_CIRCLE}: {circle}. Do something else{or_end}."
    if last.flaw:
        return f"That cannot be used: {last.flaw}"
    if last.calls:
        return ""
    if policy.ended_by:
        return f"Go on with a call of a tool. If the work is done, call {policy.ended_by}."
    return "You said nothing. Answer, or call a tool."


def _condense(thread: Thread, policy: Policy, more: int) -> Condense | Finish | None:
    """Make room if the context is nearly full: first by shortening what tools said, then by a summary."""
    if thread.tokens() + more + policy.reserved <= policy.context:
        return None
    boundary = thread.boundary(_KEPT_TURNS)
    if thread.can_shorten(boundary):
        return Condense(boundary, summarise=False)
    if thread.can_summarise(boundary):
        return Condense(boundary, summarise=True)
    if thread.can_shorten(len(thread.events)):
        return Condense(len(thread.events), summarise=False)
    detail = f"about {thread.tokens()} tokens, {policy.context} fit, {policy.reserved} are for the answer"
    return Finish("context", detail)
