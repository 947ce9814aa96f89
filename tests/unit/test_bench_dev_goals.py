"""The goals of the bench: every hidden test accepts its reference solution, and refuses what the user began with."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.crew_goals import CHECK, SIZES, DevGoal, dev_goals, lay_out, read_files

GOALS = dev_goals()
BARE = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def accepts(goal: DevGoal, files: dict[str, str], folder: Path) -> bool:
    """Run a hidden test on our own files, so without a sandbox."""
    lay_out(folder, {**files, **goal.hidden})
    command = [sys.executable, "-B", "accept.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False)
    shutil.rmtree(folder)
    return done.returncode == 0


def test_there_are_six_goals_of_each_size() -> None:
    assert [sum(goal.size == size for goal in GOALS) for size in SIZES] == [6] * 5
    assert len({goal.name for goal in GOALS}) == 30


def test_what_is_given_holds_nothing_hidden() -> None:
    for goal in GOALS:
        assert "accept.py" not in goal.given
        assert bool(goal.check) == bool(goal.given)


def test_references_are_accepted_and_beginnings_are_refused(tmp_path: Path) -> None:
    def judged(goal: DevGoal) -> tuple[str, bool, bool]:
        begun = goal.given or {f"{goal.name}.py": ""}
        good = accepts(goal, goal.solution(), tmp_path / f"{goal.name}-reference")
        return goal.name, good, accepts(goal, dict(begun), tmp_path / f"{goal.name}-begun")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(judged, GOALS))
    assert [name for name, reference, _ in found if not reference] == []
    assert [name for name, _, beginning in found if beginning] == []


def test_references_pass_the_tests_that_are_given_with_them(tmp_path: Path) -> None:
    def passes(goal: DevGoal, tests: list[str]) -> bool:
        folder = tmp_path / goal.name
        lay_out(folder, goal.solution())
        command = [sys.executable, "-B", *CHECK.split()[1:], "-p", "no:cacheprovider", *tests]
        done = subprocess.run(command, cwd=folder, env=BARE, capture_output=True, timeout=60, check=False)
        return done.returncode == 0

    named = [(goal, [path for path in read_files(goal.folder / "given") if path in goal.tests]) for goal in GOALS]
    given = [pair for pair in named if pair[1]]
    assert len(given) == 8
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(passes, *zip(*given, strict=True)))
    assert [goal.name for (goal, _), passed in zip(given, found, strict=True) if not passed] == []
