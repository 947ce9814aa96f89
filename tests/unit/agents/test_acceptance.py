"""Tests of a change join those that are there, and use only what is known."""

from __future__ import annotations

import ast
from dataclasses import replace

from treadle.agents.acceptance import Known, Place, consistent, from_assertions, manner, place_for, read_cases, render
from treadle.agents.testcases import Case

TEXT = """import json

from figures.stats import mean


def rows():
    return [1]


def test_mean():
    assert mean([1]) == 1
"""
UNIT = """import unittest

from figures.stats import mean


class StatsTest(unittest.TestCase):
    def test_mean(self):
        self.assertEqual(mean([1]), 1)


if __name__ == "__main__":
    unittest.main()
"""
PLACE = Place("tests/test_stats.py", TEXT, "", "figures.stats")
KNOWN = Known({"mean": "figures.stats", "main": "figures.cli"}, ("figures.stats", "figures.cli"), ("median",), ("box",))


def names(answer: str, place: Place = PLACE) -> list[str]:
    return [case.name for case in read_cases(answer, place, KNOWN)]


def test_each_test_gets_the_imports_that_it_needs() -> None:
    answer = "from figures.stats import median\n\ndef test_a():\n    assert median(rows()) == 1\n"
    (case,) = read_cases(answer, PLACE, KNOWN)
    assert case.source == "def test_a():\n    from figures.stats import median\n    assert median(rows()) == 1\n"


def test_import_from_a_place_that_is_not_there_is_put_right() -> None:
    answer = "from your_module import main, median\n\ndef test_a(capsys):\n    assert main([median([1])]) == 0\n"
    (case,) = read_cases(answer, PLACE, KNOWN)
    assert "from figures.cli import main" in case.source
    assert "from figures.stats import median" in case.source


def test_tests_of_unknown_things_are_left_out() -> None:
    assert names("def test_a():\n    assert guess() == 1\n") == []
    assert names("def test_a(client):\n    assert median([1]) == 1\n") == []
    assert names("def test_a():\n    assert 1 + 1 == 2\n") == []
    assert names("def test_a():\n    median([1])\n") == []
    assert names("def test_a(box, tmp_path):\n    assert median(box) == 1\n") == ["test_a"]


def test_names_that_are_taken_become_others() -> None:
    assert names("def test_mean():\n    assert median([1]) == 1\n") == ["test_mean_again"]


def test_tests_that_contradict_each_other_are_left_out() -> None:
    one, two = (Case(f"test_{n}", f"def test_{n}():\n    assert f(1) == {n}\n", "model") for n in (1, 2))
    other = Case("test_3", "def test_3():\n    assert f(2) == 2\n", "model")
    assert consistent([one, two, other]) == [other]


def test_the_file_in_its_final_form_has_its_imports_at_the_top() -> None:
    (case,) = read_cases("def test_a():\n    assert median([1]) == 1\n", PLACE, KNOWN)
    final = render(PLACE, [case], final=True)
    assert (
        final == TEXT.replace("import mean", "import mean, median") + "\n\ndef test_a():\n    assert median([1]) == 1\n"
    )


def test_methods_join_the_test_case_of_the_file() -> None:
    texts = {"tests/test_stats.py": UNIT}
    place = place_for(["tests/test_stats.py"], texts, "figures/stats.py", "tests", True)
    (case,) = read_cases("def test_a(self):\n    self.assertEqual(median([1]), 1)\n", place, KNOWN)
    final = render(place, [case], final=True)
    added = "\n    def test_a(self):\n        self.assertEqual(median([1]), 1)\n"
    assert added + "\n\nif __name__" in final


def test_a_file_is_made_where_there_is_none() -> None:
    place = place_for([], {}, "src/figures/stats.py", "tests", False)
    (case,) = read_cases("def test_a():\n    assert median([1]) == 1\n", place, KNOWN)
    assert (place.path, place.module) == ("tests/test_stats.py", "figures.stats")
    ast.parse(render(place, [case], final=True))
    unit = place_for([], {}, "stats.py", "", True)
    (case,) = read_cases("def test_a(self):\n    self.assertEqual(median([1]), 1)\n", unit, KNOWN)
    assert "class ChangeTest(unittest.TestCase):\n    def test_a(self):\n" in render(unit, [case], final=True)


def test_examples_of_the_goal_are_tests() -> None:
    (case,) = from_assertions(["assert median([1, 2]) == 1.5"], PLACE, ["median", "mean"])
    assert (case.origin, "from figures.stats import median" in case.source) == ("goal", True)


def test_the_manner_shows_the_head_and_the_nearest_tests() -> None:
    assert manner(PLACE, "a mean of nothing") == TEXT.replace("\n\n\ndef rows", "\ndef rows").replace(
        "import json\n\n", "import json\n"
    )


def test_tests_of_what_a_goal_does_not_speak_of_have_no_vote() -> None:
    answer = (
        "from figures.stats import mean, median\n\n"
        "def test_mean_again():\n    assert mean([1, 2, 3]) == 2.5\n\n"
        "def test_median():\n    assert median([1, 2, 9]) == 2\n"
    )
    known = replace(KNOWN, goal="add median(values) to figures/stats.py")
    place = Place("tests/test_stats.py", "import pytest\n", "", "figures.stats")
    votes = {"test_mean_again": 0, "test_median": 1}
    assert {case.name: case.votes for case in read_cases(answer, place, known)} == votes
    known = replace(known, goal="add median(values) beside mean")
    assert {case.votes for case in read_cases(answer, place, known)} == {1}
