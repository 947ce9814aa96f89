"""Asserts of the public suite say as much as those of the tests here."""

import pytest

pytest.register_assert_rewrite(
    "treadle.testing.suite_runs",
    "treadle.testing.suite_limits",
    "treadle.testing.suite_schedules",
    "treadle.testing.suite_starts",
    "treadle.testing.suite_tasks",
    "treadle.testing.suite_commits",
    "treadle.testing.suite_journal",
    "treadle.testing.suite_models",
    "treadle.testing.wires",
)
