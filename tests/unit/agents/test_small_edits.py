"""Versions that are one small edit away."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.agents.small_edits import rewritten, small_edits


def edits(source: str, *within: str) -> set[str]:
    found = list(small_edits(source, within))
    assert len(found) == len(set(found)) and source not in found
    return set(found)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("return a < b", "return a <= b"),
        ("return a % 11 == b", "return a % 10 == b"),
        ("return a - b", "return b - a"),
        ("return a and b", "return a or b"),
        ("return a and b", "return b"),
        ("return not a", "return a"),
        ("return a[0]", "return a[-1]"),
        ("return a[b]", "return a[b + 1]"),
        ("return a[1:]", "return a[:]"),
        ("return a[:b]", "return a[:b:-1]"),
        ("return list(range(a))", "return list(range(1, a + 1))"),
        ("return range(1, a)", "return range(1, a + 1)"),
        ("return min(a)", "return max(a)"),
        ("return a.lower()", "return a.upper()"),
        ("return a.strip()", "return a"),
        ("return a.due + 21", "return b + 21"),
        ("return sorted(a)", "return sorted(a, reverse=True)"),
        ("return ','.join(a)", "return ', '.join(a)"),
        ("return min(f(a, b), 9)", "return f(min(a, 9), b)"),
        ("return sorted(a.split(b))", "return a.split(sorted(b))"),
        ("return a * b + 1", "return a * (b + 1)"),
        ("return a * (b - 1)", "return a * (b + 1)"),
        ("return a * (b + a)", "return a * (b - a)"),
        ("return 'é' + a", "return 'é' + b"),
        ("if a:\n        return b\n    return a", "return b\n    return a"),
        ("a += b\n    return a", "a -= b\n    return a"),
        ("a = 1\n    b = a\n    return b", "b = a\n    a = 1\n    return b"),
        ("for x in a:\n        b += x\n        return b", "for x in a:\n        b += x\n    return b"),
        (
            "for x in a:\n        b += x\n    b += 1\n    return b",
            "for x in a:\n        b += x\n        b += 1\n    return b",
        ),
        (
            "if a:\n        return 1\n    elif b:\n        return 2\n    return 3",
            "if a:\n        return 1\n    if b:\n        return 2\n    return 3",
        ),
    ],
)
def test_a_small_mistake_is_one_edit_away(wrong: str, right: str) -> None:
    frame = 'def f(a, b):\n    """Says so."""\n    {}\n'
    assert frame.format(right) in edits(frame.format(wrong))


REST = "    def get(self):\n        return 7\n\n\ndef put():\n    return 3\n"


def test_likelier_slips_come_first() -> None:
    found = list(small_edits("def f(a, b):\n    n = len(a) // 2\n    return a[n + 1] if b < n else 'x'\n"))
    order = [
        "a[n - 1] if b < n",
        "if b <= n",
        "    return a[n + 1] if b < n else 'x'\n    n = len",
        "len(a) // 3",
        "'x '",
    ]
    places = [next(place for place, text in enumerate(found) if part in text) for part in order]
    assert places[1] < places[2] < places[3] < places[4] and places[0] < places[2]


def test_only_the_functions_that_are_named_are_touched() -> None:
    source = "class Box:\n    def put(self, n):\n        return n + 1\n\n" + REST
    for found in edits(source, "Box.put"):
        assert found.startswith("class Box:\n    def put(self, n):\n") and found.endswith(REST)
    assert any("return 8" in found for found in edits(source, "Box.get"))
    assert edits(source, "nobody") == set()


def test_functions_that_are_new_or_other_are_named() -> None:
    before = "class Box:\n    def put(self):\n        return 1\n\n" + REST.replace("return 3", "pass")
    after = before.replace("return 7", "return 8").replace("pass", "pass  # as before") + "\n\ndef two():\n    pass\n"
    assert rewritten(before, after) == ["Box.get", "two"]
    assert rewritten("", "x = 1\n") == []


def test_comments_and_layout_stay() -> None:
    source = "def f(a):  # one\n    # two\n    return [a,   1]  # three\n"
    assert "def f(a):  # one\n    # two\n    return [a,   2]  # three\n" in edits(source)
    assert all("# one" in found for found in edits(source))


def test_what_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        list(small_edits("def f(:"))


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "0", "7", "-1", "True", "'x'", "None", "1.5", "f'{a}'", "b''", "..."]),
    lambda inner: st.builds(
        lambda form, x, y: form.format(x, y),
        st.sampled_from(
            ["({} + {})", "{} <= {}", "({} or not {})", "[{}, {}]", "len({})", "a[{}:{}]", "{}.pop()", "lambda: {}",
             "[x for x in {} if {}]", "{} if {} else a", "sorted({}, reverse={})", "range({}, {})", "{{{}: {}}}"]
        ),
        inner,
        inner,
    ),
    max_leaves=8,
)  # fmt: skip
STATEMENTS = st.sampled_from(
    ["return {}", "a = {}", "a += {}", "if {}: pass",
     "if {}:\n        a = 1\n    elif b:\n        b = 2\n    else: b = 3",
     "for a in {}:\n        b = a\n        continue", "while {}: break", "with {}: a = 1; b = 2", "assert {}, 'é'"]
)  # fmt: skip


@given(st.lists(st.tuples(STATEMENTS, EXPRESSIONS), min_size=1, max_size=4))
def test_every_version_is_python_and_differs(parts: list[tuple[str, str]]) -> None:
    source = "def f(a, b):\n" + "".join(f"    {form.format(value)}\n" for form, value in parts)
    try:
        ast.parse(source)
    except SyntaxError:
        return
    for found in edits(source):
        ast.parse(found)
