"""A goal that no test speaks of becomes a branch with tests of its own; everything else stays as it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from builds import build, fenced, make_crew

from treadle.domain.messages import ModelRequest
from treadle.models.adapters.scripted import ScriptedModel

STATS = '''"""Figures."""


def mean(values):
    """Return the mean."""
    # of all
    return sum(values) / len(values)
'''
CLI = '''"""Figures on the command line."""

import argparse

from figures.stats import mean


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("values", nargs="+", type=float)
    args = parser.parse_args(argv)
    print(mean(args.values))


if __name__ == "__main__":
    main()
'''
TEST = "from figures.stats import mean\n\n\ndef test_mean():\n    assert mean([1, 3]) == 2\n"
FILES = {
    "figures/__init__.py": "",
    "figures/stats.py": STATS,
    "figures/cli.py": CLI,
    "tests/test_stats.py": TEST,
    "README.md": "# Figures\n\nFigures of lists.\n",
}
GOAL = "add a function median(values) to figures/stats.py"
MEDIAN = """def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
"""
TESTS = """from figures.stats import median

def test_odd():
    assert median([3, 1, 2]) == 2

def test_even():
    assert median([1, 2, 3, 4]) == 2.5
"""


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make_repo(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    git(folder, "init", "-q", "-b", "trunk")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Start")
    return folder


def answers(changes: list[str], tests: list[str]) -> ScriptedModel:
    """Answer requests for tests and for changes, each from a list of its own; the last of a list stays."""

    def answer(request: ModelRequest) -> str:
        mine = tests if "Write 4 new short tests" in request.messages[-1].content else changes
        return mine.pop(0) if len(mine) > 1 else mine[0]

    return ScriptedModel(answer)


async def test_goal_becomes_a_branch_with_tests_that_failed_before(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "repo", FILES)
    model = answers([fenced(MEDIAN)], [fenced(TESTS)])
    report = (await build(await make_crew(tmp_path, model, repo=repo, sandbox="auto"), GOAL))["report"]
    assert (report["solved"], report["files"]) == (True, ["figures/stats.py", "tests/test_stats.py"])
    assert git(repo, "show", "treadle/r1:figures/stats.py") == STATS + "\n\n" + MEDIAN.strip()
    tests = git(repo, "show", "treadle/r1:tests/test_stats.py")
    assert tests.startswith("from figures.stats import mean, median\n\n\ndef test_mean():")
    assert tests.endswith("def test_even():\n    assert median([1, 2, 3, 4]) == 2.5")
    assert "2 new tests in tests/test_stats.py fail without the change" in git(repo, "log", "-1", "treadle/r1")
    assert "Figures of lists." in model.requests[0].messages[-1].content
