"""A change of several parts: tasks over one repository, of which only new failures stand in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from builds import build, fenced, make_crew
from test_change import FILES, MEDIAN, TESTS, git, make_repo

from treadle.domain.messages import ModelRequest
from treadle.models.adapters.scripted import ScriptedModel
from treadle.sandboxes.choose import open_sandbox

GOAL = """Some figures are missing:

1. Add median(values) to figures/stats.py.
2. Describe `median` in README.md.
"""
README = FILES["README.md"] + "\n`median` is there, too.\n"
OLD = "def test_old():\n    assert 1 == 2\n"


def author(request: ModelRequest) -> str:
    text = request.messages[-1].content
    if "Change `README.md`" in text:
        return f"```markdown\n{README}```"
    return fenced(TESTS if "new short tests" in text else MEDIAN)


async def solve(tmp_path: Path, files: dict[str, str], check: str = "") -> tuple[dict[str, Any], ScriptedModel]:
    model = ScriptedModel(author)
    crew = await make_crew(tmp_path, model, repo=make_repo(tmp_path / "repo", dict(files)))
    crew = replace(crew, open_sandbox=lambda folder: open_sandbox(folder, backend="none"))
    return (await build(crew, GOAL, check))["report"], model


async def test_items_of_a_list_become_tasks_and_old_failures_do_not_stand_in_the_way(tmp_path: Path) -> None:
    report, model = await solve(tmp_path, {**FILES, "tests/test_old.py": OLD})
    assert report["solved"], report["reason"]
    assert [(task["id"], task["files"]) for task in report["tasks"]] == [
        ("t1", ["figures/stats.py", "tests/test_stats.py"]),
        ("t2", ["README.md"]),
    ]
    repo = tmp_path / "repo"
    assert git(repo, "diff", "--name-only", "trunk", "treadle/r1").split() == [
        "README.md",
        "figures/stats.py",
        "tests/test_stats.py",
    ]
    assert git(repo, "log", "--format=%(trailers:key=Treadle-Task,valueonly,separator=)", "trunk..treadle/r1").split()
    told = [text for request in model.requests if "Change `README.md`" in (text := request.messages[-1].content)]
    assert "It is a part of this" in told[0] and "Add median(values)" in told[0]
    assert any("test_old" in said and "does not count" in said for said in report["assumptions"])


async def test_a_failure_that_is_new_stands_in_the_way(tmp_path: Path) -> None:
    says = 'import pathlib\n\n\ndef test_readme():\n    assert "too" not in pathlib.Path("README.md").read_text()\n'
    report, _ = await solve(tmp_path, {**FILES, "tests/test_old.py": OLD, "tests/test_readme.py": says})
    assert not report["solved"] and "test_readme" in report["reason"]
    assert git(tmp_path / "repo", "branch", "--list") == "* trunk"
