"""JSON out of what models write."""

from __future__ import annotations

import pytest

from treadle.models.wrappers.almost_json import json_value, problem_with


@pytest.mark.parametrize(
    "answer",
    [
        '{"a": [1, 2]}',
        'Here you are:\n```json\n{"a": [1, 2]}\n```\nEnjoy!',
        '{"a": [1, 2,],}',
        "{'a': [1, 2]}",
        '{"a": [1, 2',
        '{"a": [1, 2], "b": "cut o',
        '{"a": [1, 2], "b": "he said "hi" to me"}',
        '{"a": [1, 2], "b": "two\nlines"}',
        '{a: [1, 2], b: "keys without quotes"}',
        '{"a": [1, 2] "b": 1}',
        '{"a": [1, 2], // a comment\n "b": 1}',
    ],
)
def test_json_is_read_although_it_is_broken(answer: str) -> None:
    value = json_value(answer)
    assert isinstance(value, dict)
    assert value["a"][:1] == [1]


def test_no_json_is_none() -> None:
    assert json_value("I would say four functions.") is None
    assert json_value("{ this is: not json") is None
    assert json_value("It is [sic] a test") is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 10_000, '{"a": "' + "x" * 1_000_000])
def test_what_is_too_deep_or_too_long_is_none_and_quick(text: str) -> None:
    assert json_value(text) is None


def test_problem_names_the_place_and_follows_no_address() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "array", "items": {"type": "integer"}}}, "required": ["n"]}
    assert problem_with({"n": [1]}, schema) == ""
    assert "$.n[1]" in problem_with({"n": [1, "x"]}, schema)
    assert "required" in problem_with({}, schema)
    assert "schema" in problem_with({}, {"$ref": "http://127.0.0.1:9/schema.json"})
    assert "schema" in problem_with({}, {"type": "objekt"})
    assert "too deep" in problem_with({}, {"$ref": "#"})
