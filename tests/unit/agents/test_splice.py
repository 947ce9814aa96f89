"""A correction changes the lines it must and no others."""

from __future__ import annotations

import pytest

from treadle.agents.splice import splice

SOURCE = '''"""Doc."""

import os

RATE = 0.2  # per year


def f(a):
    # why
    return a + 1


class C:
    """A class."""

    def m(self):
        return 1

    def n(self):  # kept
        return 2
'''


def test_only_what_differs_is_replaced() -> None:
    methods = "class C:\n    def m(self):\n        return 1\n    def n(self):\n        return 3\n"
    answer = f"def f(a):\n    return a + 2\n\n{methods}"
    assert splice(SOURCE, answer) == SOURCE.replace("    # why\n    return a + 1", "    return a + 2").replace(
        "    def n(self):  # kept\n        return 2", "    def n(self):\n        return 3"
    )


def test_equal_answer_changes_nothing() -> None:
    assert splice(SOURCE, "RATE = 0.2\n\ndef f(a):\n    '''New words.'''\n    return a + 1\n") == SOURCE


def test_method_given_without_its_class_finds_its_place() -> None:
    assert "    def m(self):\n        return 9\n" in splice(SOURCE, "def m(self):\n    return 9\n")


def test_constant_import_and_new_function_are_taken_over() -> None:
    changed = splice(SOURCE, "import os\nimport math\n\nRATE = 0.3\n\n\ndef g():\n    return math.pi\n")
    assert "import os\nimport math\n" in changed
    assert "RATE = 0.3\n" in changed
    assert changed.endswith("\n\n\ndef g():\n    return math.pi\n")


def test_new_method_goes_to_the_end_of_its_class() -> None:
    assert splice(SOURCE, "class C:\n    def k(self):\n        return 4\n").endswith(
        "\n\n    def k(self):\n        return 4\n"
    )


def test_answer_that_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        splice(SOURCE, "def f(:")
