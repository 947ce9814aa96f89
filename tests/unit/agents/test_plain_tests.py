"""What a model is shown of the tests that its code has to pass."""

from __future__ import annotations

from treadle.agents.plain_tests import plain_tests

UNITTEST = """
import unittest

from bank import Account, BankError, LIMIT

START = 5


class AccountTest(unittest.TestCase):
    def setUp(self):
        self.account = Account(START)

    def test_takes(self):
        self.account.put(3)
        self.assertEqual(self.account.balance, 8)

    def test_refuses(self):
        with self.assertRaises(BankError) as caught:
            Account(-1)
        self.assertEqual(type(caught.exception), BankError)
        self.assertEqual(caught.exception.args[0], "too little")

    def test_is_open(self):
        expected = True
        self.assertIs(Account(1).is_open, expected)
        self.assertFalse(Account(0).is_open)
        self.assertIsNone(Account(0).owner)
"""
PYTEST = """
import pytest
from bank import add

@pytest.fixture
def one():
    return 1

@pytest.mark.parametrize("a, b", [(1, 2), pytest.param(3, 4, id="x")])
def test_rows(a, b):
    assert add(a, b) == a + b

def test_fixture(one):
    assert add(one, 0) == 1

def test_text():
    with pytest.raises(TypeError, match="no text"):
        add("a", "b")
"""


def test_assertions_of_unittest_are_plain_ones() -> None:
    shown = plain_tests([UNITTEST], 2000)
    assert shown.splitlines()[:2] == ["from bank import Account, BankError, LIMIT", "START = 5"]
    assert "account = Account(START)\naccount.put(3)\nassert account.balance == 8" in shown
    assert "assert Account(1).is_open is True\nassert not Account(0).is_open\nassert Account(0).owner is None" in shown
    assert "self" not in shown and "class" not in shown and "def " not in shown


def test_expected_exceptions_are_comments_with_their_text() -> None:
    assert "Account(-1)  # raises BankError('too little')" in plain_tests([UNITTEST], 2000)
    assert "add('a', 'b')  # raises TypeError('no text')" in plain_tests([PYTEST], 2000)
    assert "caught" not in plain_tests([UNITTEST], 2000)


def test_rows_and_fixtures_are_put_in() -> None:
    shown = plain_tests([PYTEST], 2000)
    assert "a = 1\nb = 2\nassert add(a, b) == a + b" in shown and "a = 3" in shown
    assert "assert add(1, 0) == 1" in shown


def test_of_tests_that_are_alike_the_first_are_shown_and_each_kind_has_its_turn() -> None:
    alike = "".join(f"def test_a{n}():\n    assert f({n}) == [{n}]\n\n" for n in range(50))
    shown = plain_tests([f"from m import f, g\n\n{alike}def test_g():\n    assert g(1, 2) == 'x'\n"], 1000)
    assert shown.count("f(") == 5 and "assert g(1, 2) == 'x'" in shown
    assert len(plain_tests([alike], 60)) < 120


def test_what_cannot_be_read_is_shown_as_it_is() -> None:
    assert plain_tests(["def test(:\n", "x = 1\n"], 3) == "def\n\nx ="
    assert plain_tests([], 100) == ""


def test_a_text_with_a_backslash_stays_out_of_f_strings() -> None:
    test = "def test_it():\n    end = '\\n'\n    assert f(1) == f'{end}1'\n"
    assert plain_tests([test], 100).splitlines() == ["end = '\\n'", "assert f(1) == f'{end}1'"]
