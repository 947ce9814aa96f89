"""What a goal says is honoured by rule."""

from __future__ import annotations

import pytest

from treadle.agents.examples import Example
from treadle.agents.goal import Function, module_name, read_goal


def test_file_and_function_are_taken_from_the_goal() -> None:
    reading = read_goal("slug.py with slugify(text, sep='-') and tests (unit tests) in test_slug.py")
    assert reading.file == "slug.py"
    assert reading.functions == (Function("slugify", ("text", "sep")),)
    assert reading.is_complete
    assert not reading.is_program


def test_examples_name_a_function_too() -> None:
    reading = read_goal("a function such that slugify('A b') == 'a-b'")
    assert reading.functions == (Function("slugify", ()),)
    assert reading.examples == (Example("slugify('A b')", "'a-b'"),)
    assert reading.file == "slugify.py"


@pytest.mark.parametrize(
    ("goal", "is_program"),
    [
        ("a command-line todo app that stores tasks in a JSON file", True),
        ("a CLI for notes", True),
        ("a terminal app that shows the weather", True),
        ("a Python function that adds two numbers", False),
        ("parse the command given as text", False),
    ],
)
def test_program_is_told_from_module(goal: str, is_program: bool) -> None:
    assert read_goal(goal).is_program is is_program


def test_skeleton_fixes_the_function() -> None:
    reading = read_goal(
        'Complete:\n```python\ndef h():\n    return 1\n\ndef f(a, b):\n    """>>> f(1, 2)\n    3\n    """\n```'
    )
    assert reading.functions[-1] == Function("f", ("a", "b"))
    assert reading.examples == (Example("f(1, 2)", "3"),)
    assert reading.is_complete


def test_open_goal_leaves_everything_to_the_model() -> None:
    reading = read_goal("validate email addresses")
    assert (reading.file, reading.functions, reading.examples, reading.is_complete) == ("", (), (), False)


def test_module_never_hides_one_of_the_standard_library() -> None:
    assert module_name("a calendar") == "calendar_tool.py"
    assert module_name("a program that the user writes") == "user_writes.py"
    assert module_name("!?") == "main.py"
