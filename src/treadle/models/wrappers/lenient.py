"""A model that need not know its server's way of calling tools, nor write flawless JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from treadle.domain.messages import Message, ModelReply, ModelRequest, ToolCall, ToolDefinition
from treadle.errors import BrokenAnswer
from treadle.models.wrappers.almost_json import json_object, json_value, problem_with
from treadle.models.wrappers.calls_in_text import calls_in
from treadle.models.wrappers.wrapper import Shown, Wrapper
from treadle.ports.model import Model, OnDelta


class Lenient(Wrapper):
    """Understands calls of tools that are written as text, mends broken JSON, and asks again where it cannot.

    A reply to a request with a `json_schema` is one JSON document of it. What all tries used is in the reply's usage.
    `on_delta` sees the text of each try, with a mark between.
    """

    def __init__(self, inner: Model, *, tries: int = 2, has_tools: bool = True) -> None:
        """`tries`: questions at most, the first one included. `has_tools`: False for a model whose server takes no
        tools for it: it is told of them in words."""
        super().__init__(inner)
        self._tries = max(1, tries)
        self._has_tools = has_tools

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request: see `ports.model.Model.reply`.

        Raises:
            BrokenAnswer: None of the tries could be read. Its `reply` is the last, with what all of them used.
        """
        asked = request if self._has_tools else in_words(request)
        shown, before = Shown(on_delta), None
        for attempt in range(self._tries):
            try:
                reply = await self._inner.reply(asked, on_delta=shown.on_delta)
                reply, problem = _understood(reply, request)
            except BrokenAnswer as exc:
                reply, problem = _mended(exc, request)
            before = reply if before is None else _together(before, reply)
            if not problem:
                return before
            if attempt + 1 < self._tries:
                shown.begin_anew()
                asked = _again(asked, reply, problem)
        assert before is not None
        raise BrokenAnswer(
            f"Model {request.model!r} gave no usable answer in {self._tries} tries: {problem}.", reply=before
        )


def _understood(reply: ModelReply, request: ModelRequest) -> tuple[ModelReply, str]:
    """Return the reply as it is meant, and what is wrong with it."""
    if reply.tool_calls or reply.finish_reason == "refused":
        return reply, ""
    # What was cut off is not guessed: half a file would be written.
    if request.tools and request.tool_choice != "none" and reply.finish_reason != "length":
        text, calls = calls_in(reply.text, request.tools)
        if calls:
            return replace(reply, text=text, tool_calls=calls, finish_reason="tool_calls"), ""
        if request.tool_choice != "auto":
            return reply, "a tool had to be called"
    if request.json_schema is None:
        return reply, ""
    try:
        value, is_as_said = json.loads(reply.text), True
    except (ValueError, RecursionError):
        value, is_as_said = None if reply.finish_reason == "length" else json_value(reply.text), False
    if value is None and not is_as_said:
        is_cut = reply.finish_reason == "length"
        return reply, "the answer was cut off at max_tokens" if is_cut else "the answer is not JSON"
    problem = problem_with(value, request.json_schema)
    return (reply if is_as_said or problem else replace(reply, text=json.dumps(value, ensure_ascii=False))), problem


def _mended(exc: BrokenAnswer, request: ModelRequest) -> tuple[ModelReply, str]:
    """Read the calls that an adapter could not, if they were not cut off."""
    reply: ModelReply = exc.reply
    schemas = {tool.name: tool.parameters for tool in request.tools}
    mended = list(reply.tool_calls)
    for id, name, text in exc.broken:
        arguments = json_object(text) if reply.finish_reason != "length" and name in schemas else None
        if arguments is None or problem_with(arguments, schemas[name]):
            shown = replace(reply, text=f"{reply.text}\n{name}({text})".strip(), tool_calls=())
            return shown, f"the arguments of {name or 'the tool'} are not JSON of its schema"
        mended.append(ToolCall(id, name, arguments))
    return replace(reply, tool_calls=tuple(mended), finish_reason="tool_calls"), "" if exc.broken else str(exc)


def _together(before: ModelReply, reply: ModelReply) -> ModelReply:
    """The later reply, with what both used."""
    costs = [cost for cost in (before.cost, reply.cost) if cost is not None]
    cost = sum(costs) if costs else None
    return replace(reply, usage=before.usage + reply.usage, seconds=before.seconds + reply.seconds, cost=cost)


def _again(asked: ModelRequest, reply: ModelReply, problem: str) -> ModelRequest:
    """The same question, with what came of it. With another seed: a model at temperature 0 would say the same again."""
    complaint = f"That cannot be used: {problem}. Answer again, with nothing but what was asked for."
    said = (Message("assistant", reply.text or "(nothing)"), Message("user", complaint))
    return replace(asked, messages=(*asked.messages, *said), seed=asked.seed + 1, temperature=asked.temperature + 0.2)


def in_words(request: ModelRequest) -> ModelRequest:
    """Tell of tools, calls and results in the text of the messages, for models that know of no such things.

    Where a tool has to be called, the answer is bound to be a call: a JSON document of the tools' schemas.
    """
    messages = tuple(map(_in_words, request.messages))
    if request.tools and request.tool_choice != "none":
        told = Message("system", _told(request.tools, request.tool_choice))
        messages = (told, *messages)
        if len(messages) > 1 and messages[1].role == "system":
            messages = (replace(told, content=f"{messages[1].content}\n\n{told.content}"), *messages[2:])
    schema = request.json_schema
    if request.tools and request.tool_choice not in ("auto", "none"):
        schema = _schema_of_calls(request.tools, request.tool_choice)
    return replace(request, messages=messages, tools=(), tool_choice="auto", json_schema=schema)


def _schema_of_calls(tools: tuple[ToolDefinition, ...], choice: str) -> dict[str, Any]:
    """What a call looks like, of any of the tools or of the one that must be called."""
    wanted = [tool for tool in tools if choice in ("required", tool.name)]
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": tool.parameters},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in wanted
    ]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def _told(tools: tuple[ToolDefinition, ...], choice: str) -> str:
    described = "\n".join(
        json.dumps({"name": tool.name, "description": tool.description, "parameters": tool.parameters})
        for tool in tools
    )
    call = '{"name": ..., "arguments": {...}}'
    if choice == "auto":
        call = f"<tool_call>{call}</tool_call>"
    must = {"auto": "To call one", "required": "Call one now"}.get(choice, f"Call {choice} now")
    return f"You have these tools:\n{described}\n{must}, answer with nothing but {call}."


def _in_words(message: Message) -> Message:
    if message.role == "tool":
        return Message("user", f"<tool_response>{message.content}</tool_response>", images=message.images)
    calls = [json.dumps({"name": call.name, "arguments": call.arguments}) for call in message.tool_calls]
    if not calls:
        return message
    text = "\n".join([message.content, *(f"<tool_call>{call}</tool_call>" for call in calls)]).strip()
    return replace(message, content=text, tool_calls=())
