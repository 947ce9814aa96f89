"""A goal for a class is built like one for functions: missing methods go back, sessions of the goal are tests."""

from __future__ import annotations

from pathlib import Path

from tests.unit.workflows.builds import build, fenced, make_crew, scripted

GOAL = "A class Tally in tally.py with methods add(amount) and clear().\n\n"
GOAL += ">>> t = Tally()\n>>> t.add(2)\n>>> t.add(3)\n5\n"
WHOLE = """class Tally:
    def __init__(self):
        self.total = 0

    def add(self, amount):
        self.total += amount
        return self.total

    def clear(self):
        self.total = 0
"""
LACKING = WHOLE.partition("    def clear")[0]
TESTS = """import pytest
from tally import Tally

def test_clear():
    tally = Tally()
    tally.add(4)
    tally.clear()
    assert tally.add(1) == 1
"""


async def test_a_class_without_one_of_its_methods_goes_back_before_anything_runs(tmp_path: Path) -> None:
    model = scripted([fenced(LACKING), fenced(WHOLE)], [fenced(TESTS)], [fenced(WHOLE)])
    state = await build(await make_crew(tmp_path, model, test_seconds=60.0), GOAL)
    assert state["report"]["solved"], state["report"]["reason"]
    asked = [request.messages[-1].content for request in model.requests]
    assert "def add(self, amount): ...\n    def clear(self): ..." in asked[0]
    assert len(state["outcomes"][0]["versions"]) == 2
    tests = (tmp_path / "out" / "test_tally.py").read_text()
    assert "assert t.add(3) == 5" in tests  # the session of the goal
    assert "def test_clear" in tests
