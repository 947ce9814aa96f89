"""What is known about source without a model and without running it."""

from __future__ import annotations

import pytest

from treadle.agents.source import find_flaw, interface, mend, stub


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(:\n    pass\n", "SyntaxError"),
        ("def g():\n    pass\n", "does not define f"),
        ("import requests\n\ndef f():\n    pass\n", "'requests' is not installed"),
        ("def f():\n    return helper(1)\n", "'helper' is not defined in f"),
        ("def f():\n    return tasks\n\ndef g(tasks):\n    return tasks\n", "'tasks' is not defined in f"),
        ("x = y\n\ndef f():\n    pass\n", "'y' is not defined"),
    ],
)
def test_flaw_is_seen_without_running(source: str, said: str) -> None:
    flaw = find_flaw(source, ("f",))
    assert flaw is not None
    assert said in flaw.message


@pytest.mark.parametrize(
    "source",
    [
        "import os\nfrom mine import x\n\ndef f():\n    return os.sep, x, __file__\n",
        "class A:\n    y = 1\n    def m(self):\n        return [i for i in range(A.y)], __class__\n\ndef f(): ...\n",
        "def f():\n    def g(n):\n        return g(n)\n    try:\n        g(1)\n    except OSError as e:\n        e\n",
        "def set_up():\n    global STATE\n    STATE = 1\n\ndef f():\n    return STATE\n",
        "from math import *\n\ndef f():\n    return sqrt(2)\n",
    ],
)
def test_sound_source_has_no_flaw(source: str) -> None:
    assert find_flaw(source, ("f",), frozenset({"mine"})) is None


def test_stub_has_the_names_but_does_nothing() -> None:
    source = (
        "import json\nLIMIT = 3\nPARSER = make()\nprint('x')\n\n@cache\ndef f(a, b=1):\n    return a\n\n"
        "class C:\n    x: int\n    def m(self):\n        return 1\n\ndef make():\n    return 1\n"
    )
    space: dict[str, object] = {}
    exec(stub(source), space)
    assert space["LIMIT"] == 3
    assert "PARSER" not in space
    for call in ("f(1)", "C().m()", "make()"):
        with pytest.raises((NotImplementedError, TypeError)):
            eval(call, space)
    with pytest.raises(NotImplementedError):
        eval("f(1)", space)


def test_stub_of_a_program_fails_when_it_is_run() -> None:
    source = "def main():\n    return 0\n\nif __name__ == '__main__':\n    raise SystemExit(main())\n"
    with pytest.raises(NotImplementedError):
        exec(stub(source), {"__name__": "__main__"})


def test_missing_imports_come_and_example_calls_go() -> None:
    source = '"""Doc."""\n\ndef f(xs: List[int]) -> Path:\n    return Path(json.dumps(xs))\n\n\nprint(f([1]))\n'
    assert mend(source) == (
        '"""Doc."""\nimport json\nfrom typing import List\nfrom pathlib import Path\n\n'
        "def f(xs: List[int]) -> Path:\n    return Path(json.dumps(xs))\n"
    )


def test_mending_leaves_sound_and_unparsable_source_alone() -> None:
    for source in ("def f():\n    # a comment\n    return 1\n", "def f(:\n", '"""Doc."""\n\nX = 1\n'):
        assert mend(source) == source


def test_interface_shows_signatures_not_bodies() -> None:
    source = (
        'def f(a: int, b=2) -> str:\n    """Do it.\n\n    More."""\n\ndef _g(): ...\n\nclass C:\n    def m(self): ...\n'
    )
    assert interface(source) == ('def f(a: int, b=2) -> str:\n    """Do it."""\nclass C: ...\n    def m(self): ...')
