"""Small models call tools, and write JSON, in their own ways."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from treadle.domain.messages import FinishReason, Message, ModelReply, ModelRequest, ToolCall, ToolDefinition, Usage
from treadle.errors import BrokenAnswer
from treadle.models.adapters.scripted import ScriptedModel
from treadle.models.wrappers.calls_in_text import calls_in
from treadle.models.wrappers.lenient import Lenient, in_words

WEATHER = ToolDefinition(
    "get_weather",
    "Tells the weather.",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
NOW = ToolDefinition("now", "Tells the time.", {"type": "object", "properties": {}})
WANTED = {"city": "Brno", "days": 2}
REQUEST = ModelRequest(model="m", messages=(Message("user", "Weather in Brno?"),), tools=(WEATHER, NOW))
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
AS_JSON = ModelRequest(model="m", messages=(Message("user", "A number."),), json_schema=SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}\n</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}',
        '```json\n{"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}\n```',
        '```\n[{"name": "get_weather", "parameters": {"city": "Brno", "days": 2}}]\n```',
        '{"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}',
        '{"name": "get_weather", "arguments": "{\\"city\\": \\"Brno\\", \\"days\\": 2}"}',
        "{'name': 'get_weather', 'arguments': {'city': 'Brno', 'days': 2,},}",
        '{"name": "get_weather", "arguments": {"city": "Brno", "days": 2}',
        '{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}}',
        '{"tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}}]}',
        '{"tool": "get_weather", "input": {"city": "Brno", "days": 2}}',
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Brno", "days": 2}}]',
        '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Brno", "days": 2}}',
        '<function=get_weather>{"city": "Brno", "days": 2}</function>',
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nBrno\n</parameter>\n<parameter=days>\n2\n</parameter>\n"
        "</function>\n</tool_call>",
        'get_weather(city="Brno", days=2)',
        '[get_weather(city="Brno", days=2)]',
        "```python\nprint(get_weather('Brno', days=2))\n```",
        "```tool_code\ndefault_api.get_weather(city='Brno', days=2)\n```",
    ],
)
@pytest.mark.parametrize("prose", ["", "I will look that up.\n\n"])
def test_call_in_text_is_a_call(text: str, prose: str) -> None:
    said, calls = calls_in(prose + text, REQUEST.tools)
    assert calls == (ToolCall("call_0", "get_weather", WANTED),)
    assert said == prose.strip()


@pytest.mark.parametrize(
    "text",
    [
        "It will rain in Brno.",
        "You could call get_weather(city) for that.",
        '{"name": "other_tool", "arguments": {"city": "Brno"}}',
        '{"name": "get_weather", "arguments": {"town": "Brno"}}',
        '{"name": "Jan", "city": "Brno"}',
        "```python\ndef get_weather(city):\n    return 'rain'\n```",
        "```json\n{}\n```",
        "[see get_weather]",
        "",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert calls_in(text, REQUEST.tools) == (text, ())


def test_call_in_tags_with_wrong_arguments_is_one_whoever_makes_it_tells_why() -> None:
    wrong = '<tool_call>{"name": "get_weather", "arguments": {"town": "Brno"}}</tool_call>'
    assert calls_in(f"So: {wrong}", REQUEST.tools) == ("So:", (ToolCall("call_0", "get_weather", {"town": "Brno"}),))
    assert [call.name for call in calls_in(f"{wrong}\nnow()", REQUEST.tools)[1]] == ["now"]
    both = calls_in(f"{wrong}<tool_call>now()</tool_call>", REQUEST.tools)[1]
    assert [call.name for call in both] == ["get_weather", "now"]
    other = calls_in('<tool_call>{"name": "rain", "arguments": {}}</tool_call>', REQUEST.tools)[1]
    assert [call.name for call in other] == ["rain"]
    assert calls_in('<tool_call>{"name": "no name", "arguments": {}}</tool_call>', REQUEST.tools)[1] == ()


def test_several_calls_are_all_found() -> None:
    lines = '{"name": "now", "arguments": {}}\n{"name": "get_weather", "arguments": {"city": "Brno"}}'
    tags = '<tool_call>{"name": "now"}</tool_call>'
    tags += '<tool_call>{"name": "get_weather", "arguments": {"city": "Brno"}}</tool_call>'
    for text in (lines, tags, 'now()\nget_weather("Brno")'):
        assert [call.name for call in calls_in(text, REQUEST.tools)[1]] == ["now", "get_weather"], text


def said(text: str, finish: FinishReason = "stop", **more: object) -> ModelReply:
    return ModelReply(text, "m", finish, Usage(10, 5), **more)  # type: ignore[arg-type]


async def test_reply_with_a_call_in_its_text_is_one_with_a_call() -> None:
    model = ScriptedModel([said('Well.\n{"name": "now", "arguments": {}}')])
    reply = await Lenient(model).reply(REQUEST)
    assert (reply.text, reply.finish_reason, reply.tool_calls) == (
        "Well.",
        "tool_calls",
        (ToolCall("call_0", "now", {}),),
    )


async def test_text_is_left_alone_where_no_tools_were_offered() -> None:
    model = ScriptedModel([said('{"name": "now", "arguments": {}}')])
    assert not (await Lenient(model).reply(replace(REQUEST, tools=()))).tool_calls


async def test_broken_arguments_are_mended() -> None:
    broken = BrokenAnswer("x", reply=said(""), broken=(("c1", "get_weather", "{'city': 'Brno', 'days': 2,"),))
    reply = await Lenient(ScriptedModel([broken])).reply(REQUEST)
    assert reply.tool_calls == (ToolCall("c1", "get_weather", WANTED),)


async def test_cut_off_arguments_are_asked_for_again_and_not_guessed() -> None:
    broken = BrokenAnswer("x", reply=said("", "length"), broken=(("c1", "get_weather", '{"city": "Br'),))
    model = ScriptedModel([broken, said("", "tool_calls", tool_calls=(ToolCall("c2", "now", {}),))])
    reply = await Lenient(model).reply(REQUEST)
    assert reply.tool_calls == (ToolCall("c2", "now", {}),)
    assert reply.usage == Usage(20, 10), "the broken answer was paid for too"


async def test_call_in_text_that_was_cut_off_is_not_taken_for_a_call() -> None:
    model = ScriptedModel([said('{"name": "get_weather", "arguments": {"city": "Br', "length")])
    reply = await Lenient(model).reply(REQUEST)
    assert (reply.tool_calls, reply.finish_reason) == ((), "length")


async def test_broken_json_is_mended_to_a_document() -> None:
    model = ScriptedModel([said("Sure:\n```json\n{'n': 3,}\n```")])
    assert json.loads((await Lenient(model).reply(AS_JSON)).text) == {"n": 3}
    assert len(model.requests) == 1


async def test_answer_against_its_schema_is_asked_for_again_with_the_reason() -> None:
    model = ScriptedModel([said('{"n": "three"}'), said('{"n": 3}')])
    pieces: list[str] = []
    reply = await Lenient(model).reply(AS_JSON, on_delta=pieces.append)
    assert (reply.text, reply.usage) == ('{"n": 3}', Usage(20, 10))
    again = model.requests[1]
    assert again.messages[1] == Message("assistant", '{"n": "three"}')
    assert "$.n" in again.messages[2].content
    assert again.seed != AS_JSON.seed
    assert "asked again" in "".join(pieces)


async def test_tries_end() -> None:
    model = ScriptedModel([said("no"), said("no"), said("no")])
    with pytest.raises(BrokenAnswer, match="3 tries") as told:
        await Lenient(model, tries=3).reply(AS_JSON)
    assert told.value.reply.usage == Usage(30, 15)


async def test_answer_cut_off_is_not_closed_by_guessing() -> None:
    model = ScriptedModel([said('{"n": 31', "length"), said('{"n": 314}')])
    assert (await Lenient(model).reply(AS_JSON)).text == '{"n": 314}'


async def test_refusal_is_an_answer() -> None:
    model = ScriptedModel([said("I cannot do that.", "refused")])
    assert (await Lenient(model).reply(AS_JSON)).finish_reason == "refused"


async def test_tool_that_must_be_called_is_asked_for_again() -> None:
    model = ScriptedModel([said("It rains."), said("now()")])
    reply = await Lenient(model).reply(replace(REQUEST, tool_choice="required"))
    assert [call.name for call in reply.tool_calls] == ["now"]


async def test_model_without_tools_is_told_of_them_in_words() -> None:
    call = ToolCall("c1", "now", {})
    history = (
        Message("system", "Be brief."),
        *REQUEST.messages,
        Message("assistant", "", (call,)),
        Message("tool", "9", (), "c1"),
    )
    asked = in_words(replace(REQUEST, messages=history))
    assert not asked.tools and {message.role for message in asked.messages} == {"system", "user", "assistant"}
    assert asked.messages[0].content.startswith("Be brief.") and "get_weather" in asked.messages[0].content
    assert not any(message.tool_calls for message in asked.messages)
    model = ScriptedModel([said('<tool_call>{"name": "now", "arguments": {}}</tool_call>')])
    reply = await Lenient(model, has_tools=False).reply(replace(REQUEST, messages=history))
    assert reply.tool_calls == (ToolCall("call_0", "now", {}),)


def test_a_model_without_tools_that_has_to_call_one_is_bound_to_a_call() -> None:
    asked = in_words(replace(REQUEST, tool_choice="required"))
    schema = asked.json_schema
    assert schema is not None
    calls = schema.get("anyOf", [schema])
    assert {call["properties"]["name"]["const"] for call in calls} == {tool.name for tool in REQUEST.tools}
    name = REQUEST.tools[0].name
    one = in_words(replace(REQUEST, tool_choice=name)).json_schema
    assert one is not None and one["properties"]["arguments"] == REQUEST.tools[0].parameters
    assert in_words(REQUEST).json_schema is None


async def test_an_answer_that_is_nothing_but_a_call_is_one() -> None:
    name, city = REQUEST.tools[0].name, {"city": "Oslo"}
    model = ScriptedModel([json.dumps({"name": name, "arguments": city})])
    reply = await Lenient(model, has_tools=False).reply(replace(REQUEST, tool_choice="required"))
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [(name, city)]
