"""The reckoning of `bench routing` needs nobody, and says what it should of outcomes that are given."""

from __future__ import annotations

import pytest
from bench.routing import PRICES, WORKLOADS, Outcome, Task, escalation, foresight, main, rows

SURE = Task("a", Outcome(True, True, 10), Outcome(True, True, 7))
STUCK = Task("b", Outcome(False, False, 30), Outcome(True, True, 8))
FOOLED = Task("c", Outcome(True, False, 20), Outcome(True, True, 9))


def test_only_what_fails_its_own_checks_climbs_and_both_are_paid_then() -> None:
    came = [escalation(task) for task in (SURE, STUCK, FOOLED)]
    assert [(asked.right, asked.small_tokens, asked.frontier_tokens) for asked in came] == [
        (True, 10, 0),
        (True, 30, 8),
        (False, 20, 0),
    ]


def test_the_rows_count_what_came_out_right_and_what_it_cost() -> None:
    table = {row[0]: row[1:] for row in rows([SURE, STUCK, FOOLED], {"small": 0.0, "frontier": 1000.0})}
    assert table["always small"][0] == "1 (33%)"
    assert table["always frontier"][3] == "0.024"
    assert table["escalation"][:4] == ["2 (67%)", "60", "8", "0.008"]
    assert table["foresight"][0] == "3 (100%)"


@pytest.mark.parametrize("name", WORKLOADS)
def test_recorded_tasks_are_paired_and_nothing_beats_foresight(name: str) -> None:
    tasks = WORKLOADS[name]()
    assert tasks
    right = sum(foresight(task).right for task in tasks)
    assert all(int(row[1].split()[0]) <= right for row in rows(tasks, PRICES))


def test_it_prints_the_same_tables_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--markdown", "--price", "frontier=15"]) == 0
    first = capsys.readouterr().out
    assert main(["--markdown", "--price", "frontier=15"]) == 0
    assert capsys.readouterr().out == first
    assert "| escalation |" in first
