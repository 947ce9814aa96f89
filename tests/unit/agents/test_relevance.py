"""The files that a failure is about are found from its traces."""

from __future__ import annotations

from treadle.agents.relevance import excerpt, failing_tests, find_suspects, read_failure

TEXTS = {
    "shop/cart.py": "from shop.prices import cut\n\n\nclass Cart:\n    def total(self):\n        return cut(10)\n",
    "shop/prices.py": "RATE = 2\n\n\ndef cut(x):\n    return x / 0\n\n\ndef shown(x):\n    return x\n",
    "shop/other.py": "def unrelated():\n    return 1\n",
    "tests/test_shop.py": "from shop.cart import Cart\n\n\ndef test_total():\n    assert Cart().total() == 9\n",
}
PYTEST = """
tests/test_shop.py:5: in test_total
    assert Cart().total() == 9
shop/cart.py:6: in total
    return cut(10)
/workspace/shop/prices.py:5: in cut
    return x / 0
E   ZeroDivisionError: division by zero
=========================== short test summary info ============================
FAILED tests/test_shop.py::test_total - ZeroDivisionError: division by zero
1 failed, 3 passed
"""


def test_failure_is_read_from_pytest() -> None:
    failure = read_failure(PYTEST, TEXTS)
    assert failure.tests == (("tests/test_shop.py", "test_total"),)
    assert failure.frames == (("tests/test_shop.py", 5), ("shop/cart.py", 6), ("shop/prices.py", 5))
    assert failure.essence == "ZeroDivisionError: division by zero"


def test_suspects_are_those_in_the_trace_and_the_test_and_never_tests() -> None:
    suspects = find_suspects(read_failure(PYTEST, TEXTS), TEXTS, "fix it")
    assert [suspect.path for suspect in suspects] == ["shop/prices.py", "shop/cart.py"]
    assert suspects[0].names == ("cut",)
    assert find_suspects(read_failure(PYTEST, TEXTS), TEXTS, "fix shop/cart.py")[0].path == "shop/cart.py"


def test_what_a_test_compares_is_likelier_wrong_than_what_it_makes_arguments_of() -> None:
    texts = {
        "shop/calendar.py": "class Calendar:\n    def days(self):\n        return 1\n",
        "shop/fines.py": (
            "class Rules:\n    def __init__(self, calendar):\n        pass\n\n"
            "    def fine(self, loan):\n        return 1\n"
        ),
        "tests/test_fines.py": (
            "from shop.calendar import Calendar\nfrom shop.fines import Rules\n\n\n"
            "def test_fine():\n    assert Rules(Calendar()).fine(3) == 5\n"
        ),
    }
    failure = read_failure("FAILED tests/test_fines.py::test_fine - assert 1 == 5\n", texts)
    suspect = find_suspects(failure, texts, "mend it")[0]
    assert (suspect.path, suspect.names[0]) == ("shop/fines.py", "Rules.fine")
    hinted = find_suspects(failure, texts, "mend it", {"shop/calendar.py": 9})
    assert hinted[0].path == "shop/calendar.py"


def test_plain_traceback_and_unittest_are_read_too() -> None:
    plain = 'Traceback (most recent call last):\n  File "/w/shop/prices.py", line 5, in cut\nZeroDivisionError: x\n'
    assert read_failure(plain, TEXTS).frames == (("shop/prices.py", 5),)
    unit = "FAIL: test_total (tests.test_shop.T.test_total)\n"
    assert read_failure(unit, TEXTS).tests[0][1] == "test_total"


def test_failing_test_is_shown_and_a_long_file_only_in_part() -> None:
    assert failing_tests(read_failure(PYTEST, TEXTS), TEXTS) == "def test_total():\n    assert Cart().total() == 9"
    long = "import os\n\nX = 1\n\n\ndef a():\n    return X\n\n\n" + "def b():\n    return 2\n\n\n" * 40
    assert excerpt(long, ["a"]) == "import os\nX = 1\ndef a():\n    return X\n"
    assert excerpt("short\n", []) == "short\n"


def test_broken_files_are_borne() -> None:
    assert find_suspects(read_failure(PYTEST, TEXTS), {"shop/cart.py": "def ("}, "fix") == []
