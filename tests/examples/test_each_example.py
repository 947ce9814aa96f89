"""Each example runs by itself and prints what its page promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISED = {
    "01_tracer_bullet": ["done: It says: Hello from the sandbox", "write_file: hello.py was made: 1 line."],
    "02_single_agent": [
        "May it order {'part': 'nuts', 'number': 10}?",
        "answered: Done: 10 nuts ordered. There are 13 now.",
    ],
    "03_agent_pool": ["simple: Quickly: fix a typo", "complex: With care: find the leak", "4 tickets are done"],
    "04_full_orchestration": [
        "t3 quote.py: 2 tests, review: accept",
        "Merge t2: price.py with price(count, each) that multiplies them",
        "Add area.py: area.py with area(width, height) that multiplies them",
    ],
    "simple_workflow": ["- AI agents are on the rise", "3: write wrote report"],
    "conditional_workflow": ["START --> write", "Published: Draft 2 about tea, with numbers"],
    "fan_out_join": ["9 words [4, 1, 4], the longest has 5 letters", "2 words [2], the longest has 7 letters"],
    "human_approval": ["waiting: Send this?", "Sent: Dear customer, here is your refund. (approved by Grace)", "done"],
    "time_travel": ["total: 108.0", "with half the price: 60.0; the first run still says 108.0"],
}


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", f"examples/{name}.py"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_every_example_is_tested() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == PROMISED.keys()


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_runs_and_prints_what_it_promises(name: str) -> None:
    lines = [line.strip() for line in run(name).splitlines()]
    for line in PROMISED[name]:
        assert line in lines


def test_the_model_of_the_approval_example_is_called_once() -> None:
    assert run("human_approval").count("(the model is called)") == 1
