"""What a build decides before it begins, and what it records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from treadle.domain.task import RunRow, RunStatus
from treadle.errors import Conflict, NotFound
from treadle.models.inventory.read import load_inventory
from treadle.services.builds import BuildPlan, RepositoryAt, _free, _options, plan_of, slug
from treadle.services.tiers import budgets_of
from treadle.settings import load_settings

PLAN = BuildPlan(
    "a goal", "/x", RepositoryAt("/r", "c", "t", "main", 2), "true", "embedded", "m", "because", "landlock", 10, 3
)


def row(labels: dict[str, str]) -> RunRow:
    return RunRow("r1", "build@1", RunStatus.RUNNING, 1, 1, "t", "p", 0.0, 0.0, labels=labels)


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        ("slug.py with slugify(text) and tests", "slug-py-slugify-text"),
        ("A Python function that adds two numbers", "python-function-adds-two"),
        ("???", "build"),
        ("Ünïcode only ñ", "n-code-only"),
        ("x" * 100, "x" * 40),
    ],
)
def test_a_folder_is_named_after_the_goal(goal: str, name: str) -> None:
    assert slug(goal) == name


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    assert _free(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").touch()
    assert _free(tmp_path / "a") == tmp_path / "a-3"


def test_a_plan_comes_back_from_the_run_as_it_was() -> None:
    options = _options(PLAN, "r1", {"fork_of": "r0"})
    assert plan_of(row(dict(options.labels))) == PLAN
    assert options.budgets == {"tokens": 10.0} and options.labels["goal"] == "a goal"
    listed = replace(PLAN, allow_hosts=("pypi.org",))
    assert plan_of(row(dict(_options(listed, "r1", {}).labels))).allow_hosts == ("pypi.org",)


def test_a_run_that_is_no_build_or_of_another_version_is_refused() -> None:
    with pytest.raises(NotFound):
        plan_of(row({}))
    with pytest.raises(Conflict):
        plan_of(row({"kind": "build", "plan": '{"goal": 1}'}))


def test_a_build_may_spend_what_a_flag_says_else_the_routing_else_what_is_shipped(tmp_path: Path) -> None:
    def limits(**flags: object) -> dict[str, float]:
        settings = load_settings(tmp_path, flags, {"HOME": str(tmp_path)})
        return budgets_of(load_inventory(settings), settings)

    assert limits() == {"tokens": 200_000.0}
    examples = Path(__file__).parents[3] / "examples"
    (tmp_path / "servers.yaml").write_text((examples / "servers.yaml").read_text())
    assert limits() == {"tokens": 400_000.0, "money": 2.5, "seconds": 3600.0}
    assert limits(budget_tokens=5, budget_money=0.5) == {"tokens": 5.0, "money": 0.5, "seconds": 3600.0}
