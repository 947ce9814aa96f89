"""Examples are taken as truth, so only what is surely one is read."""

from __future__ import annotations

import pytest

from treadle.agents.examples import Example, find_examples


@pytest.mark.parametrize(
    ("text", "call", "expected"),
    [
        (">>> f([1, 2])\n    3\n", "f([1, 2])", "3"),
        ("f('a b') == 'a-b'", "f('a b')", "'a-b'"),
        ("f(1, 4) => true", "f(1, 4)", "True"),
        ("f([3], 5) ➞ True\n# why", "f([3], 5)", "True"),
        ("f('Hi') returns 'Hi'.", "f('Hi')", "'Hi'"),
        ("so `f('a')` should return `'b'`", "f('a')", "'b'"),
        ("f('x', 19) ->19 - 5 - 6 = 8", "f('x', 19)", "8"),
        ('f(15)   # returns "db1111db"', "f(15)", '"db1111db"'),
        ("f([\n  [1, 2],\n  [3]\n], 1) == [(0, 0)]", "f([   [1, 2],   [3] ], 1)", "[(0, 0)]"),
        ("f([1]) ==> 2 ", "f([1])", "2"),
        ("f([], None) → {'a': 1}, because it is", "f([], None)", "{'a': 1}"),
    ],
)
def test_example_is_read(text: str, call: str, expected: str) -> None:
    assert find_examples(text, ["f"]) == [Example(call, expected)]


@pytest.mark.parametrize(
    "text",
    [
        "f(a) => False",
        "f(x) = x + 1",
        "g(1) == 2",
        "f(1) is called first, then f(2) is called",
        "f(1, 2",
        "slug.py with f(text) and tests",
        "f(2) = 1 + n",
    ],
)
def test_what_is_no_example_is_left_alone(text: str) -> None:
    assert find_examples(text, ["f"]) == []


def test_examples_come_once_and_in_order() -> None:
    found = find_examples("f(2) == 4 and f(1) == 1 and again f(2) == 4", ["f"])
    assert [example.call for example in found] == ["f(2)", "f(1)"]


def test_assertions_compare_as_the_value_asks() -> None:
    assert Example("f(1)", "0.3").assertion() == "assert abs(f(1) - (0.3)) < 1e-6"
    assert Example("f(1)", "None").assertion() == "assert f(1) is None"
    assert Example("f(1)", "'a'").assertion() == "assert f(1) == 'a'"
