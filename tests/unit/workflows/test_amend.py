"""Files for which no tests can be written are changed too; what was checked of them, and what not, is said."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from builds import build, make_crew

from treadle.domain.messages import ModelRequest
from treadle.models.adapters.scripted import ScriptedModel

SETTINGS = '{\n  "port": 80,\n  "hosts": ["a", "b"],\n  "debug": false\n}\n'
NEW_SETTINGS = SETTINGS.replace("80", "8080")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Shop</title>
</head>
<body>
<h1>Shop</h1>
<p>Open on Mondays.</p>
</body>
</html>
"""
TEST = """import json
import pathlib


def test_hosts():
    assert json.loads(pathlib.Path("settings.json").read_text())["hosts"] == ["a", "b"]
"""


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *args], capture_output=True, text=True, check=True)
    return done.stdout


def make_repo(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Start")
    return folder


async def solve(tmp_path: Path, files: dict[str, str], goal: str, *answers: str, check: str = "") -> dict[str, Any]:
    """Run one build over a repository of these files; `asked` of its report holds what the model was asked."""
    given = list(answers)

    def answer(request: ModelRequest) -> str:
        return given.pop(0) if len(given) > 1 else given[0]

    model = ScriptedModel(answer)
    crew = await make_crew(tmp_path, model, repo=make_repo(tmp_path / "repo", files))
    report: dict[str, Any] = (await build(crew, goal, check))["report"]
    return report | {"asked": [request.messages[-1].content for request in model.requests]}


def fenced(text: str, language: str = "") -> str:
    return f"Here it is:\n\n```{language}\n{text}```\n"


async def test_a_setting_is_changed_and_what_was_checked_is_said(tmp_path: Path) -> None:
    files = {"settings.json": SETTINGS, "tests/test_settings.py": TEST, "app.py": "def main():\n    pass\n"}
    report = await solve(tmp_path, files, "change the port in settings.json to 8080", fenced(NEW_SETTINGS, "json"))
    assert (report["solved"], report["files"], report["rounds"]) == (True, ["settings.json"], 0), report["reason"]
    assert git(tmp_path / "repo", "show", "treadle/r1:settings.json") == NEW_SETTINGS
    assert report["assumptions"] == ["no test shows that the goal is met: look at the change"]
    message = git(tmp_path / "repo", "log", "-1", "--format=%B", "treadle/r1")
    assert "Settings.json parses." in message and "The tests of the repository pass as before." in message
    assert SETTINGS in report["asked"][0]


async def test_what_does_not_parse_breaks_a_test_or_leaves_lines_out_is_sent_back(tmp_path: Path) -> None:
    files = {"settings.json": SETTINGS, "tests/test_settings.py": TEST}
    wrong = (
        fenced(NEW_SETTINGS.replace("8080,", "8080")),
        fenced(NEW_SETTINGS.replace(', "b"', "")),
        fenced('{\n  "port": 8080,\n  ... rest unchanged\n}\n'),
    )
    goal = "set the port in settings.json to 8080"
    report = await solve(tmp_path, files, goal, *wrong, fenced(NEW_SETTINGS))
    assert (report["solved"], report["rounds"]) == (True, 3), report["reason"]
    assert "delimiter" in report["asked"][1] and "test_hosts fails now" in report["asked"][2]
    assert "leaves lines out" in report["asked"][3]
    assert git(tmp_path / "repo", "show", "treadle/r1:settings.json") == NEW_SETTINGS


async def test_a_page_is_held_to_what_the_goal_quotes_and_not_to_old_faults(tmp_path: Path) -> None:
    old = PAGE.replace(' lang="en"', "")
    new = old.replace("Mondays", "Mondays and Fridays")
    broken = new.replace("<p>", "<p><b>")
    answers = fenced(old.replace("Open", "We open")), fenced(broken), fenced(new)
    goal = 'the page should say "Mondays and Fridays"'
    report = await solve(tmp_path, {"index.html": old}, goal, *answers)
    assert (report["solved"], report["rounds"]) == (True, 2), report["reason"]
    assert "does not say" in report["asked"][1] and "<b> is not closed" in report["asked"][2]
    assert git(tmp_path / "repo", "show", "treadle/r1:index.html") == new


async def test_a_text_keeps_its_fences(tmp_path: Path) -> None:
    readme = "# Shop\n\nRun it:\n\n```\nshop\n```\n"
    new = readme + "\n## Options\n\n```\nshop --json\n```\n"
    files = {"README.md": readme, "shop.py": "def main():\n    pass\n"}
    report = await solve(tmp_path, files, "describe `--json` in the README", fenced(new, "markdown"))
    assert report["solved"] and git(tmp_path / "repo", "show", "treadle/r1:README.md") == new
    assert "README.md was not checked: nothing reads it" in report["assumptions"]


async def test_a_check_that_fails_decides_for_files_of_any_language(tmp_path: Path) -> None:
    files = {"greet.sh": "echo hello\n", "README.md": "# Greets\n"}
    check = 'test "$(sh greet.sh)" = "good morning"'
    answers = fenced("echo good evening\n", "sh"), fenced("echo good morning\n", "sh")
    report = await solve(tmp_path, files, "let greet.sh say good morning", *answers, check=check)
    assert (report["solved"], report["rounds"], report["assumptions"]) == (True, 1, []), report["reason"]
    assert "Exit code 1" in report["asked"][1]


async def test_a_new_file_is_made_where_the_goal_names_one(tmp_path: Path) -> None:
    files = {"app.py": "def main():\n    pass\n"}
    goal = "write indent_size = 4 into a new file: add it to format.ini"
    report = await solve(tmp_path, files, goal, fenced("[any]\nindent_size = 4\n", "ini"))
    assert (report["solved"], report["files"]) == (True, ["format.ini"]), report["reason"]


async def test_what_no_answer_does_is_not_claimed(tmp_path: Path) -> None:
    report = await solve(tmp_path, {"a.yaml": "port: 80\n"}, "set port in a.yaml to 8080", fenced("port: 80\n"))
    assert not report["solved"] and report["reason"] == "The answer changes nothing."
    assert git(tmp_path / "repo", "branch", "--list") == "* trunk\n"


async def test_a_goal_about_nothing_that_is_there_says_so(tmp_path: Path) -> None:
    report = await solve(tmp_path, {"notes.cfg": "x\n"}, "let the turbine spin twice as fast", "x")
    assert "Name the file that is to change" in report["reason"]
