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
    assert splice(SOURCE, answer) == SOURCE.replace("return a + 1", "return a + 2").replace("return 2", "return 3")


def test_equal_answer_changes_nothing() -> None:
    assert splice(SOURCE, "RATE = 0.2\n\ndef f(a):\n    '''New words.'''\n    return a + 1\n") == SOURCE


def test_method_given_without_its_class_finds_its_place() -> None:
    assert "    def m(self):\n        return 9\n" in splice(SOURCE, "def m(self):\n    return 9\n")


def test_constant_import_and_new_function_are_taken_over() -> None:
    changed = splice(SOURCE, "import os\nimport math\n\nRATE = 0.3\n\n\ndef g():\n    return math.pi\n")
    assert "import math\nimport os\n" in changed
    assert "RATE = 0.3\n" in changed
    assert changed.endswith("\n\n\ndef g():\n    return math.pi\n")


def test_new_method_goes_to_the_end_of_its_class() -> None:
    assert splice(SOURCE, "class C:\n    def k(self):\n        return 4\n").endswith(
        "\n\n    def k(self):\n        return 4\n"
    )


def test_answer_that_is_no_python_is_refused() -> None:
    with pytest.raises(SyntaxError):
        splice(SOURCE, "def f(:")


LONG = '''from stats import mean


def report(rows, width=10):
    """Say it."""
    # first the head
    lines = ["head"]
    for row in rows:
        # one line each
        lines.append(row.name)  # the name
        lines.append(row.size)
    if width > 5:
        lines.append("wide")
    else:
        lines.append("narrow")
    return lines


if __name__ == "__main__":
    print(report([]))
'''


def test_of_a_rewritten_function_only_the_statements_that_differ_are_taken() -> None:
    answer = """def report(rows, width=10):
    lines = ['head']
    for row in rows:
        lines.append(row.name)
        lines.append(str(row.size))
    if width > 5:
        lines.append('wide')
    else:
        lines.append('slim')
    return lines
"""
    wanted = LONG.replace("row.size)", "str(row.size))").replace('"narrow"', "'slim'")
    assert splice(LONG, answer) == wanted


def test_new_signature_keeps_the_docstring_and_the_body_that_stays() -> None:
    answer = """def report(rows, width=10, as_json=False):
    lines = ["head"]
    if as_json:
        return json.dumps(lines)
    for row in rows:
        lines.append(row.name)
        lines.append(row.size)
    if width > 5:
        lines.append("wide")
    else:
        lines.append("narrow")
    return lines
"""
    wanted = LONG.replace("width=10)", "width=10, as_json=False)").replace(
        '    lines = ["head"]\n', '    lines = ["head"]\n    if as_json:\n        return json.dumps(lines)\n'
    )
    assert splice(LONG, answer) == wanted


def test_new_function_goes_before_what_runs_and_its_constant_to_the_top() -> None:
    changed = splice(LONG, "LIMIT = 3\nUNUSED = 4\n\ndef capped(rows):\n    return rows[:LIMIT]\n")
    assert changed.index("def capped") < changed.index("if __name__")
    assert changed.startswith("from stats import mean\n\nLIMIT = 3\n")
    assert "UNUSED" not in changed


def test_import_joins_the_line_that_imports_from_there() -> None:
    assert splice(LONG, "from stats import median\n").startswith("from stats import mean, median\n")


def test_field_of_a_class_is_added_behind_the_others() -> None:
    source = (
        'class Task:\n    """It."""\n\n    title: str\n    done: bool = False\n\n    def f(self):\n        return 1\n'
    )
    changed = splice(source, "class Task:\n    title: str\n    done: bool = False\n    due: str = ''\n")
    assert changed == source.replace("done: bool = False\n", "done: bool = False\n    due: str = ''\n")


def test_emptied_definition_stays_as_it_was() -> None:
    assert splice(SOURCE, "def f(a):\n    ...\n\nclass C:\n    def m(self):\n        pass\n") == SOURCE


def test_indentation_of_the_file_is_kept() -> None:
    source = "def f(a):\n\tif a:\n\t\treturn 1\n\treturn 2\n"
    answer = "def f(a):\n    if a:\n        return 1\n    if a is None:\n        return 0\n    return 2\n"
    assert splice(source, answer) == source.replace("\treturn 2", "\tif a is None:\n\t\treturn 0\n\treturn 2")
