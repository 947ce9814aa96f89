"""Between an agent's thread and what is recorded of it: journal entries in their plain form, and back. Pure.

The same functions move a thread on while it runs and when it is read from the log, so both come to the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from treadle.domain import codec
from treadle.domain.events import Event, InterruptAnswered, ModelReplied, StepRecorded, ToolReturned
from treadle.domain.messages import ToolCall, Usage
from treadle.domain.thread import (
    Approval,
    AssistantMessage,
    Condensed,
    SystemMessage,
    Thread,
    ThreadEvent,
    ToolResponse,
    UserMessage,
)

Plain = Mapping[str, Any]

_KEY = re.compile(r"^(?P<name>.*?)(?P<what>ask|tool|condense|approve|message)\.(?P<at>\d+)(?:\.(?P<position>\d+))?\b")
_YES = frozenset({"yes", "y", "ok", "approve", "approved", "allow", "allowed", "true"})


def asked(thread: Thread) -> dict[str, Any]:
    """What is recorded of a question to the model: what is new in it, and a name for all that came before."""
    new = [_said(event) for event in _unanswered(thread)]
    return {"messages": new, "conversation": thread.digest()}


def replied(thread: Thread, request: Plain, result: Plain) -> None:
    """Move a thread on by a model's reply, and by the messages that led to it if it does not have them."""
    known = len(_unanswered(thread))
    thread.extend(_message(said) for said in request["messages"][known:])
    wanted = () if result.get("flaw") else result.get("tool_calls", ())
    calls = [
        ToolCall(thread.call_id(call["id"], position), call["name"], call["arguments"])
        for position, call in enumerate(wanted)
    ]
    finish = result.get("finish_reason", "stop")
    is_cut = finish == "length" and not calls
    flaw = "your answer was cut off; write less at once." if is_cut else ""
    thread.apply(
        AssistantMessage(
            text=result["text"],
            model=result.get("model", ""),
            usage=_usage(result),
            cost=result.get("cost"),
            seconds=result.get("seconds", 0.0),
            finish_reason=finish,
            flaw=result.get("flaw", "") or flaw,
            thinking=result.get("thinking", ""),
            opaque=result.get("opaque"),
        )
    )
    thread.extend(calls)


def called(call: ToolCall) -> dict[str, Any]:
    """What is recorded of a call that is to be made."""
    return {"id": call.id, "tool": call.name, "arguments": call.arguments}


def response_of(call_id: str, result: Plain) -> ToolResponse:
    """A recorded result of a tool."""
    known = {name: result[name] for name in ToolResponse.__dataclass_fields__ if name in result}
    known["changed"] = tuple(known.get("changed", ()))
    return ToolResponse(**{**known, "call_id": call_id})


def plain_response(response: ToolResponse) -> dict[str, Any]:
    """What is recorded of a result: only what says something. An exit code of 0 does."""
    values: dict[str, Any] = msgspec.to_builtins(response)
    del values["call_id"]
    is_said = {"text": True, "exit_code": response.exit_code is not None}
    return {key: value for key, value in values.items() if is_said.get(key, value not in ("", [], {}, None, False, 0))}


def condensed(thread: Thread, request: Plain, result: Plain) -> None:
    """Move a thread on by a recorded condensation."""
    if "text" in result:
        summary = result["text"].strip() or result.get("otherwise", "")
        thread.apply(
            Condensed(request["upto"], summary or "(nothing is known of it)", _usage(result), result.get("cost"))
        )
    else:
        thread.apply(Condensed(request["upto"]))


def approval_of(call_id: str, answer: Any) -> Approval:
    """What an answer to a request for approval means. Only a clear yes is one; words that are none are the reason."""
    if isinstance(answer, Mapping):
        said = next((answer[key] for key in ("approved", "allow", "allowed", "approve") if key in answer), False)
        return Approval(call_id, is_yes(said), str(answer.get("reason", "")))
    if is_yes(answer):
        return Approval(call_id, True)
    is_plain_no = answer is None or str(answer).strip().lower() in ("no", "n", "deny", "denied", "false", "")
    return Approval(call_id, False, "" if is_plain_no else str(answer))


def is_yes(answer: Any) -> bool:
    """Whether an answer is a clear yes."""
    return answer is True or (isinstance(answer, str) and answer.strip().lower() in _YES)


def thread_of(events: Iterable[Event], activation: str | None = None, name: str = "") -> Thread:
    """Read a thread back from a run's log. Events that do not belong to it are passed over.

    Args:
        activation: Of the node that holds the conversation; None: the first one that asked a model in one.
        name: Of the conversation, where a node holds several.
    """
    thread, batch = Thread(), _Batch()
    for event in events:
        key = _KEY.match(event.step or "")
        if key is None or key["name"] != name or activation not in (None, event.activation):
            continue
        activation = activation or event.activation
        if not isinstance(event.payload, ToolReturned):
            batch.empty_into(thread)
        _move(thread, batch, event, key)
    batch.empty_into(thread)
    return thread


class _Batch:
    """Results of calls that ran side by side: recorded as they came, told in the order of the calls."""

    def __init__(self) -> None:
        self._responses: list[tuple[int, ToolResponse]] = []

    def add(self, position: int, response: ToolResponse) -> None:
        self._responses.append((position, response))

    def empty_into(self, thread: Thread) -> None:
        thread.extend(response for _, response in sorted(self._responses, key=lambda found: found[0]))
        self._responses.clear()


def _move(thread: Thread, batch: _Batch, event: Event, key: re.Match[str]) -> None:
    payload = event.payload
    if isinstance(payload, InterruptAnswered):
        _answered(thread, codec.bare(payload.value), key)
        return
    if not isinstance(payload, StepRecorded):
        return
    request, result = codec.bare(payload.request), codec.bare(payload.result)
    if not isinstance(request, dict) or not isinstance(result, dict):
        return
    if isinstance(payload, ToolReturned) and key["what"] == "tool" and thread.turns:
        batch.add(int(key["position"] or 0), response_of(request["id"], result))
    elif isinstance(payload, ModelReplied) and key["what"] == "ask":
        replied(thread, request, result)
    elif key["what"] == "condense":
        condensed(thread, request, result)


def _answered(thread: Thread, value: Any, key: re.Match[str]) -> None:
    if key["what"] == "message":
        thread.apply(UserMessage(str(value)))
    elif key["what"] == "approve" and thread.turns:
        calls = thread.turns[-1].calls
        position = int(key["position"] or 0)
        if position < len(calls):
            thread.apply(approval_of(calls[position].id, value))


def _unanswered(thread: Thread) -> list[SystemMessage | UserMessage]:
    """What was said since the model answered last."""
    found: list[SystemMessage | UserMessage] = []
    for event in reversed(thread.events):
        if isinstance(event, AssistantMessage):
            break
        if isinstance(event, SystemMessage | UserMessage):
            found.append(event)
    return found[::-1]


def _said(event: SystemMessage | UserMessage) -> dict[str, Any]:
    role = "system" if isinstance(event, SystemMessage) else "user"
    notice = {"notice": True} if isinstance(event, UserMessage) and event.is_notice else {}
    return {"role": role, "content": event.text, **notice}


def _message(said: Plain) -> ThreadEvent:
    if said["role"] == "system":
        return SystemMessage(said["content"])
    return UserMessage(said["content"], is_notice=bool(said.get("notice")))


def _usage(result: Plain) -> Usage:
    return msgspec.convert(result.get("usage", {}), Usage)
