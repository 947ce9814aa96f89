"""A search among small edits, with tests that were given."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.agents.local_search import local_search
from treadle.ports.sandbox import Limits, Sandbox
from treadle.sandboxes.choose import open_sandbox

TESTS = (
    "import pytest\nimport unittest\nfrom sums import mean, total\n\n\n"
    "@pytest.mark.parametrize('values', [[1], [1, 2], [5, 6, 7]])\n"
    "def test_total(values):\n    assert total(values) == sum(values)\n\n\n"
    "class Means(unittest.TestCase):\n"
    "    def test_mean(self):\n        self.assertEqual(mean([1, 2, 6]), 3)\n\n\n"
    "def test_files(tmp_path, capsys, monkeypatch):\n    assert total([]) == 0\n"
)
RIGHT = (
    "def total(values):\n    found = 0\n    for n in values:\n        found += n\n    return found\n\n\n"
    "def mean(values):\n    return total(values) / len(values)\n"
)
ONE_WRONG = RIGHT.replace("found = 0", "found = 1")
TWO_WRONG = ONE_WRONG.replace("/ len", "* len")


@pytest.fixture
async def sandbox(tmp_path: Path) -> Sandbox:
    (tmp_path / "test_sums.py").write_text(TESTS)
    return await open_sandbox(tmp_path)


@pytest.mark.parametrize(("source", "edits"), [(RIGHT, 0), (ONE_WRONG, 1), (TWO_WRONG, 2)])
async def test_small_mistakes_are_found(sandbox: Sandbox, source: str, edits: int) -> None:
    found = await local_search(sandbox, "sums.py", source, ["test_sums.py"], Limits(), seconds=60)
    assert (found.passed, found.failed, found.edits) == (5, 0, edits)
    assert "def mean" in found.source and (found.source == RIGHT or edits)
    assert found.tried >= 1


async def test_a_version_that_never_ends_is_left_behind(sandbox: Sandbox) -> None:
    source = "def total(values):\n    n = 0\n    while n < len(values) + 1:\n        n += 1\n    return sum(values)\n"
    source += "\n\ndef mean(values):\n    return total(values) / (len(values) + 0)\n"
    found = await local_search(
        sandbox, "sums.py", source.replace("+ 0)", "- 1)"), ["test_sums.py"], Limits(), seconds=60
    )
    assert found.failed == 0


async def test_what_no_edit_mends_stays_as_it_is(sandbox: Sandbox) -> None:
    source = "import nothing_of_this_name\n\n\ndef total(values):\n    return 3\n"
    found = await local_search(sandbox, "sums.py", source, ["test_sums.py"], Limits(), seconds=30)
    assert (found.source, found.passed, found.edits) == (source, 0, 0)
    assert found.failed > 0


async def test_versions_that_end_the_process_or_say_that_all_is_well_pass_nothing(sandbox: Sandbox) -> None:
    source = "import os\nprint('[[9, 0]]')\nos._exit(0)\n\n\ndef total(values):\n    return 1 + 1\n"
    found = await local_search(sandbox, "sums.py", source, ["test_sums.py"], Limits(), seconds=30)
    assert (found.passed, found.edits) == (0, 0)


async def test_one_or_two_tests_are_too_few_to_go_by(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "test_few.py").write_text("from sums import total\n\n\ndef test_it():\n    assert total([1]) == 1\n")
    found = await local_search(sandbox, "sums.py", ONE_WRONG, ["test_few.py"], Limits(), seconds=30)
    assert (found.source, found.failed, found.tried) == (ONE_WRONG, 1, 1)
