"""A function becomes a tool, and wrong arguments become words that a model can act on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tools.conftest import Hands

from treadle.domain.messages import ToolDefinition
from treadle.errors import StoreUnavailable, UsageError
from treadle.ports.tool import Tool, ToolContext
from treadle.tools import BUILT_IN, call_tool, tool
from treadle.tools.arguments import problems_of, signature, without_nulls


@dataclass
class Item:
    """What is ordered."""

    name: str
    count: int = 1
    default: bool = False


@tool(effects="none")
def order(items: list[Item], speed: Literal["slow", "fast"] = "slow", note: str | None = None) -> dict[str, Any]:
    """Order some things.

    They come later.

    Args:
        items: What to order,
            one by one.
        speed: How quickly.
    """
    return {"names": [item.name * item.count for item in items], "speed": speed, "note": note}


async def test_schema_comes_from_annotations_and_docstring() -> None:
    definition = order.definition
    assert (definition.name, definition.description) == ("order", "Order some things.\n\nThey come later.")
    properties = definition.parameters["properties"]
    assert properties["items"]["description"] == "What to order, one by one."
    assert properties["items"]["items"]["properties"]["count"] == {"type": "integer"}
    assert properties["note"] == {"type": "string"}
    assert definition.parameters["required"] == ["items"]
    assert signature(definition) == (
        "items (list of object with name, count?, default?), "
        "speed ('fast' or 'slow', optional), note (string, optional)"
    )


async def test_arguments_arrive_in_their_types_and_the_result_as_json(hands: Hands) -> None:
    result = await call_tool(order, {"items": [{"name": "ab", "count": 2}], "note": None}, hands.context)
    assert result.data == {"names": ["abab"], "speed": "slow", "note": None}
    assert result.text == '{"names":["abab"],"speed":"slow","note":null}'


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({}, "'items' is a required property"),
        ({"items": [{"name": 1}]}, "$.items[0].name: 1 is not of type 'string'"),
        ({"items": [], "speed": "warp"}, "'warp' is not one of"),
        ({"items": [], "file": 1}, "it has no argument 'file'"),
        ({"items": None}, "None is not of type 'array'"),
        (["items"], "its arguments are list, not an object"),
    ],
)
async def test_wrong_arguments_are_told_with_what_it_takes(hands: Hands, args: Any, told: str) -> None:
    result = await call_tool(order, args, hands.context)
    assert result.is_error and told in result.text and "It takes items" in result.text


async def test_what_a_tool_raises_of_its_own_is_told_to_the_model(hands: Hands) -> None:
    @tool
    async def divide(by: int) -> str:
        """Divide."""
        return str(1 // by)

    assert (await call_tool(divide, {"by": 1}, hands.context)).text == "1"
    result = await call_tool(divide, {"by": 0}, hands.context)
    assert result.is_error and "divide failed: ZeroDivisionError" in result.text


async def test_what_nobody_can_help_is_raised(hands: Hands) -> None:
    @tool
    async def look() -> str:
        """Look."""
        raise StoreUnavailable("The store did not answer.")

    with pytest.raises(StoreUnavailable):
        await call_tool(look, {}, hands.context)


async def test_sync_function_does_not_hold_up_the_loop(hands: Hands) -> None:
    loop = asyncio.get_running_loop()

    @tool
    def wait(context: ToolContext) -> str:
        """Wait for the loop, which must be free meanwhile."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(timeout=10)
        return context.sandbox.name

    assert (await call_tool(wait, {}, hands.context)).text == hands.context.sandbox.name


def test_unknown_effects_are_the_most_careful() -> None:
    assert tool(lambda_with_doc).effects == "at_most_once"
    assert tool(lambda_with_doc).resources({}) == {"*"}
    assert order.resources({}) == frozenset()


def lambda_with_doc() -> None:
    """Do nothing."""


def test_function_that_no_model_could_call_is_refused() -> None:
    def untyped(x) -> None:  # type: ignore[no-untyped-def]
        """Doc."""

    def untold(x: int) -> None: ...

    def strange(x: asyncio.Queue[int]) -> None:
        """Doc."""

    def endless(*x: int) -> None:
        """Doc."""

    for function in (untyped, untold, strange, endless):
        with pytest.raises(UsageError):
            tool(function)


async def test_text_is_bounded_whoever_wrote_the_tool(hands: Hands) -> None:
    @tool(effects="none")
    def many(count: Annotated[int, msgspec.Meta(ge=0)]) -> str:
        """Write many lines."""
        return "".join(f"line {number}\n" for number in range(count))

    result = await call_tool(many, {"count": 5000}, hands.context)
    assert len(result.text) <= hands.context.shown and result.full


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": False},
        {"properties": {"a": True}, "required": 1},
        {"properties": {"a": {"anyOf": 2}, "b": {"enum": 3}, "c": {"type": ["string", "null"]}}},
        {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}},
        {"$ref": "#"},
    ],
)
def test_schema_of_others_may_be_anything(schema: Any) -> None:
    definition = ToolDefinition("theirs", "It does.", schema)
    assert without_nulls({"a": None, "b": 1}, schema)["b"] == 1
    assert isinstance(problems_of({"a": 1}, definition), str) and signature(definition)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["path", "content", "changes", "command", "tasks", "start", "depth", "old", "new", "x"])


@given(st.sampled_from(BUILT_IN), st.dictionaries(NAMES, JSON, max_size=4) | JSON)
@settings(max_examples=100)
def test_checking_any_arguments_never_fails(one: Tool, args: Any) -> None:
    told = problems_of(args, one.definition)
    assert told == "" or "It takes" in told
