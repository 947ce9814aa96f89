"""`treadle plan` draws and saves what a goal would become; `treadle run` builds it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from treadle.cli import plan_tree
from treadle.cli.main import run
from treadle.domain.plan import Estimate, Plan, PlannedTask
from treadle.services.plan_file import read_plan

PARTS = "a price-tracking service with an HTTP API, a CLI to add products, and docs"
ASSERTIONS = "assert double(2) == 4  # two\nassert double(0) == 0  # nothing\nassert double(-3) == -6  # below\n"
SAYS_NOTHING = [{"when": "", "reply": "{}"}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "script.json").write_text(json.dumps(SAYS_NOTHING))
    return place


def plan(*arguments: str) -> int:
    return run(["plan", *arguments, "--provider", "scripted:script.json"])


def test_tree_shows_who_waits_for_whom() -> None:
    takes = Estimate(1_000, 50.0, 0.25)
    tasks = (
        PlannedTask("t1", "one", estimate=takes),
        PlannedTask("t2", "two", "program", needs=("t1",), tier="small", estimate=takes),
        PlannedTask("t3", "three", needs=("t1",), files=("c.py",)),
        PlannedTask("t4", "four", "document", "documentation", needs=("t1", "t2")),
    )
    assert list(plan_tree.lines(Plan("g", tasks=tasks), 100)) == [
        "t1  one",
        "│  module, medium: about 1,000 tokens, 50s, $0.2500",
        "├─ t2  two",
        "│  │  program, medium, tier small: about 1,000 tokens, 50s, $0.2500",
        "│  └─ t4  four  (after t1, t2)",
        "│        document (documentation), medium: about 0 tokens, 0.0s, free",
        "└─ t3  three",
        "      module, medium: about 0 tokens, 0.0s, free; writes c.py",
        "",
        "4 tasks: about 2,000 tokens, 1m40s, $0.5000",
    ]


def test_chart_escapes_what_is_markup() -> None:
    tasks = (PlannedTask("t1", 'say "<b>"'), PlannedTask("t2", "x", needs=("t1",)))
    chart = list(plan_tree.mermaid(Plan("g", tasks=tasks)))
    assert chart[0] == "flowchart TD" and chart[-1] == "    t1 --> t2"
    assert "say &quot;&lt;b&gt;&quot;" in chart[1]


def test_plan_is_drawn_saved_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(PARTS, "--check", "make test") == 0
    out, err = capsys.readouterr()
    assert "└─ t2  Write cli.py: a CLI to add products" in out
    assert "treadle run plan-price-tracking-service-http.yaml" in err
    found = read_plan(folder / "plan-price-tracking-service-http.yaml")
    assert (len(found.plan.tasks), found.check, found.provider) == (3, "make test", "scripted:script.json")
    assert plan(PARTS, "--mermaid") == 0
    assert capsys.readouterr().out.startswith("flowchart TD\n")
    assert (folder / "plan-price-tracking-service-http-2.yaml").exists()


def test_vague_goal_shows_what_has_to_be_answered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("make it better", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["plan"]["questions"] and told["total"]["tokens"] > 0
    assert read_plan(folder / told["file"]).plan.questions == tuple(told["plan"]["questions"])
    assert plan("make it better") == 0
    assert "To be answered:\n  - What should it do?" in capsys.readouterr().err


def test_change_to_a_repository_without_tests_asks_for_a_check(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(folder)]
    (folder / "a.py").write_text("A = 1\n")
    for command in (["init", "-q"], ["add", "a.py"], ["commit", "-qm", "Begin"]):
        subprocess.run([*git, *command], check=True)
    assert plan("add a function that doubles numbers to a.py", "--json") == 0
    told = json.loads(capsys.readouterr().out)["plan"]
    assert [task["kind"] for task in told["tasks"]] == ["change"]
    assert "give --check" in told["questions"][0]


def test_nothing_is_planned_over_an_existing_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("precious")
    assert plan(PARTS, "--out", "mine.yaml") == 2
    assert "is there already" in capsys.readouterr().err
    assert (folder / "mine.yaml").read_text() == "precious"
    assert plan("  ") == 2


def test_plan_of_one_task_is_built_and_teaches_the_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = "def double(number):\n    return number * 2\n"
    rules = [("Write 6 asserts", ASSERTIONS), ("", code)]
    script = [{"when": when, "reply": f"```python\n{reply}```"} for when, reply in rules]
    (folder / "script.json").write_text(json.dumps(script))
    assert plan("double.py with double(number)", "--out", "p.yaml") == 0
    capsys.readouterr()
    assert run(["run", "p.yaml", "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["solved"] and "double.py" in report["files"]
    assert plan("halve.py with halve(number)", "--json") == 0
    learnt = json.loads(capsys.readouterr().out)["total"]["tokens"]
    assert learnt == round(report["tokens"] / 3 + 650 * 2 / 3)


def test_mistakes_in_a_plan_stop_a_build_before_it_begins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.yaml").write_text("goal: x\ntasks:\n- {id: a, title: b, needs: [c]}\n")
    assert run(["run", "p.yaml"]) == 2
    assert "p.yaml:3" in capsys.readouterr().err
    assert run(["run", "p.yaml", "--state", "{}"]) == 2
    assert "--state is for graphs" in capsys.readouterr().err
    assert run(["run", "none.yaml"]) == 3
    capsys.readouterr()
    written = "goal: x\nprovider: scripted:script.json\ntasks:\n- {id: a, title: b, tier: frontier}\n"
    (folder / "p.yaml").write_text(written)
    assert run(["run", "p.yaml"]) == 2
    assert "'a' begins in tier 'frontier', which this build does not have" in capsys.readouterr().err
