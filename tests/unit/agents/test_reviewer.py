"""A reviewer judges by rules, checks and tests that count; an opinion alone does not stop anything for long."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agents.fakes import FakeContext
from tests.unit.agents.test_review_rules import diff_of

from treadle.agents.ask import Asker
from treadle.agents.prompt import Prompts
from treadle.agents.reviewer import ReviewPolicy, Submission, review
from treadle.agents.workbench import FolderWorkbench
from treadle.domain.messages import ModelRequest
from treadle.domain.plan import PlannedTask
from treadle.models.adapters.scripted import ScriptedModel
from treadle.sandboxes.choose import open_sandbox

RIGHT = "def double(x):\n    return 2 * x\n"
WRONG = "def double(x):\n    return x + 2\n"
GOAL = "A function double(x) that doubles a number."


def task(**fields: Any) -> PlannedTask:
    return PlannedTask("t1", "Write double.py", files=("double.py",), done=("double doubles",), **fields)


def work(source: str, *, goal: str = GOAL, tests: str = "", **fields: Any) -> Submission:
    files = {"double.py": source} | ({"test_double.py": tests} if tests else {})
    diff = "".join(diff_of(path, text) for path, text in files.items())
    return Submission(task(), goal, diff, files, **fields)


class Reviewing:
    """A reviewer with a scripted model and a real (unconfined) folder to run tests in."""

    def __init__(self, bench: FolderWorkbench) -> None:
        self.bench = bench
        self.model = ScriptedModel(self.answer)
        self.tests = "```python\nassert double(2) == 4\nassert double(5) == 10\n```"
        self.value = "4"
        self.opinion: dict[str, Any] = {"problems": [], "accept": True}
        self.ctx = FakeContext()

    def answer(self, request: ModelRequest) -> str:
        text = request.messages[-1].content
        if "Write 6 asserts" in text:
            return self.tests
        if "work out what" in text:
            return json.dumps({"steps": "2 times 2", "value": self.value})
        return json.dumps(self.opinion)

    async def __call__(self, submission: Submission, **options: Any) -> dict[str, Any]:
        asker = Asker(self.ctx, self.model, "m")  # type: ignore[arg-type]
        return await review(submission, self.ctx, asker, Prompts.load(), self.bench, **options)  # type: ignore[arg-type]


@pytest.fixture
async def reviewing(tmp_path: Path) -> Reviewing:
    return Reviewing(FolderWorkbench(await open_sandbox(tmp_path, backend="none")))


def checks(ok: bool, output: str = "") -> Any:
    async def check() -> Mapping[str, Any]:
        return {"ok": ok, "output": output}

    return check


async def test_small_models_are_not_asked(reviewing: Reviewing) -> None:
    said = await reviewing(work(RIGHT, tier="small"), check=checks(True))
    assert (said["verdict"], said["reasons"], said["by"]) == ("accept", [], "")
    assert reviewing.model.requests == []


async def test_a_failed_check_sends_back_and_asks_nobody(reviewing: Reviewing) -> None:
    said = await reviewing(work(RIGHT, tier="large"), check=checks(False, "E   assert 1 == 2"))
    assert said["verdict"] == "send_back"
    assert "assert 1 == 2" in said["reasons"][0]
    assert reviewing.model.requests == []


async def test_what_cannot_be_mended_in_the_rounds_is_escalated(reviewing: Reviewing) -> None:
    left = "def double(x):\n    pass  # TODO\n"
    assert (await reviewing(work(left)))["verdict"] == "send_back"
    assert (await reviewing(work(left, round=2)))["verdict"] == "escalate"
    assert (await reviewing(Submission(task(), GOAL, "", {})))["reasons"] == ["Nothing was changed."]


async def test_an_example_of_the_goal_that_fails_counts_without_any_model(reviewing: Reviewing) -> None:
    goal = GOAL + " double(2) == 4 and double(5) == 10."
    said = await reviewing(work(WRONG, goal=goal))
    assert said["verdict"] == "send_back"
    assert "assert 7 == 10" in said["reasons"][0]
    assert list(said["failed"]) == ["test_example_2"]
    assert [test["body"] if "body" in test else test["source"] for test in said["tests"]]


async def test_examples_that_the_tests_hold_already_are_not_run_again(reviewing: Reviewing) -> None:
    tests = "from double import double\n\n\ndef test_a():\n    assert double(2) == 4\n"
    said = await reviewing(work(RIGHT, goal=GOAL + " double(2) == 4.", tests=tests))
    assert said["verdict"] == "accept"
    assert "review.run" not in reviewing.ctx.journal


async def test_a_test_of_the_model_counts_if_it_comes_to_the_same_value_again(reviewing: Reviewing) -> None:
    reviewing.tests, reviewing.value = "```python\nassert double(3) == 6\n```", "6"
    said = await reviewing(work(WRONG, tier="large"))
    assert said["verdict"] == "send_back"
    assert "double(3) == 6" in said["reasons"][0]
    shown = "\n".join(request.messages[-1].content for request in reviewing.model.requests)
    assert "x + 2" not in shown  # neither its tests nor the second look come from the code


async def test_a_wrong_test_of_the_model_is_only_a_doubt(reviewing: Reviewing) -> None:
    reviewing.tests, reviewing.value = "```python\nassert double(3) == 9\nassert double(4) == 8\n```", "6"
    said = await reviewing(work(RIGHT, tier="large"))
    assert (said["verdict"], said["failed"]) == ("accept", {})
    assert "double(3) == 9" in said["doubts"][0]
    assert "double(4) == 8" in said["tests"][0]["source"]


async def test_an_opinion_sends_back_once_and_never_blocks(reviewing: Reviewing) -> None:
    reviewing.opinion, reviewing.tests = {"problems": ["double(None) crashes"], "accept": False}, ""
    policy = ReviewPolicy(review="always")
    first = await reviewing(work(RIGHT), policy=policy)
    assert (first["verdict"], first["reasons"], first["by"]) == ("send_back", ["double(None) crashes"], "m")
    reviewing.ctx = FakeContext()
    second = await reviewing(work(RIGHT, round=1), policy=policy)
    assert (second["verdict"], second["reasons"]) == ("accept", [])
    assert "double(None) crashes" in second["doubts"]


async def test_a_review_entered_again_asks_and_runs_nothing_twice(reviewing: Reviewing) -> None:
    first = await reviewing(work(RIGHT, tier="frontier"), check=checks(True))
    asked = len(reviewing.model.requests)
    assert await reviewing(work(RIGHT, tier="frontier"), check=checks(True)) == first
    assert len(reviewing.model.requests) == asked > 0


async def test_a_reviewer_that_never_accepts_comes_to_an_end(reviewing: Reviewing) -> None:
    reviewing.opinion, reviewing.tests = {"problems": ["I do not like it"], "accept": False}, ""
    for source, last in ((RIGHT, "accept"), ("def double(x): ...\n", "escalate")):
        verdicts = []
        for round in range(4):
            reviewing.ctx = FakeContext()
            said = await reviewing(work(source, round=round), policy=ReviewPolicy(review="always"))
            verdicts.append(said["verdict"])
            if said["verdict"] != "send_back":
                break
        assert verdicts[-1] == last


async def test_a_workbench_leaves_nothing_of_one_call_for_the_next(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    bench = FolderWorkbench(await open_sandbox(tmp_path / "w", backend="none"), base={"a/kept.txt": "x"})
    outside = tmp_path / "outside"
    outside.mkdir()
    await bench.run({"b/c.txt": "1", "a/kept.txt": None}, ["sh", "-c", f"ln -s {outside} d; mkdir -p e/f"])
    done = await bench.run({"d/new.txt": "2"}, ["sh", "-c", "find . -type f | sort"])
    assert done.stdout.split() == ["./a/kept.txt", "./d/new.txt"]
    assert list(outside.iterdir()) == []
