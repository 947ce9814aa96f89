"""Tests are taken apart, so that a wrong one can go alone."""

from __future__ import annotations

from treadle.agents.examples import Example
from treadle.agents.testcases import Case, Header, from_assertions, from_examples, from_functions, render_tests


def test_each_assertion_becomes_a_test_named_after_its_comment() -> None:
    answer = "assert f(1) == 2  # one\nassert f('a # b') == 3\nassert g(1) == 1  # another function\nassert f(x) == 1\n"
    cases = from_assertions(answer, ["f"])
    assert [(case.name, case.source) for case in cases] == [
        ("test_f_one", "def test_f_one():\n    assert f(1) == 2\n"),
        ("test_f_2", "def test_f_2():\n    assert f('a # b') == 3\n"),
    ]


def test_repeated_assertions_come_once_and_a_loop_of_them_is_cut() -> None:
    answer = "assert f(0) == 0\n" * 50 + "".join(f"assert f({n}) == {n}\n" for n in range(50)) + "assert f(1"
    assert len(from_assertions(answer, ["f"])) == 10


def test_assertions_inside_functions_are_found() -> None:
    assert len(from_assertions("def test_f():\n    assert f(1) == 1\n    assert f(2) == 2\n", ["f"])) == 2


def test_functions_keep_their_arguments_and_lose_their_class() -> None:
    answer = (
        "import pytest\n\ndef test_a(tmp_path):\n    '''Doc.'''\n    assert f(tmp_path) == 1\n\n"
        "class TestF:\n    def test_b(self):\n        with pytest.raises(ValueError):\n            f(0)\n\n"
        "def test_c(mocker):\n    assert f(1)\n\ndef test_d():\n    print(f(1))\n\ndef test_e():\n    assert True\n"
    )
    cases = from_functions(answer, ["f"])
    assert [case.name for case in cases] == ["test_a", "test_b"]
    assert cases[0].source == "def test_a(tmp_path):\n    assert f(tmp_path) == 1\n"
    assert cases[1].source == "def test_b():\n    with pytest.raises(ValueError):\n        f(0)\n"


def test_test_file_holds_only_what_it_needs() -> None:
    header = Header("Tests.", ("import pytest", "import math", "from m import f"))
    cases = [*from_examples([Example("f(1)", "2")]), Case("test_x", "def test_x():\n    assert math.pi\n", "model")]
    assert render_tests(header, cases) == (
        '"""Tests."""\n\nimport math\nfrom m import f\n\n\n'
        "def test_example_1():\n    assert f(1) == 2\n\n\ndef test_x():\n    assert math.pi\n"
    )
