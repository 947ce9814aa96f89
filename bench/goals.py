"""Four goals from start to end with a local model, each judged by acceptance checks that the build never sees.

    python -m bench goals --model qwen2.5-coder:1.5b --trials 3

Trial 0 takes the likeliest answer first; later ones sample it, to show how far the outcome hangs on luck.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.building import Built, add_model_options, append, build, open_model, run_hidden
from treadle.ports.model import Model
from treadle.workflows import BuildSettings

TEMPERATURE = 0.4


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal, and how its result is judged."""

    name: str
    text: str
    accept: str
    """Python that gets the module's name as its argument, runs beside the result's files and raises if it is wrong."""
    check: str = ""
    repo: Mapping[str, str] | None = None


ADD = """
import importlib, inspect, sys
module = importlib.import_module(sys.argv[1])
functions = [f for n, f in inspect.getmembers(module, inspect.isfunction) if not n.startswith("_") and n != "main"]
add = functions[0]
assert add(2, 3) == 5 and add(-1, 1) == 0 and abs(add(0.5, 0.25) - 0.75) < 1e-9 and add(10**20, 1) == 10**20 + 1
"""

SLUG = """
from slug import slugify
for text, expected in [("Hello World", "hello-world"), ("  Hello,   World!  ", "hello-world"), ("", ""), ("a", "a"),
                       ("Python", "python"), ("a b c", "a-b-c"), ("x1 y2", "x1-y2")]:
    assert slugify(text) == expected, (text, slugify(text))
"""

TODO = """
import pathlib, subprocess, sys, tempfile
script = str(pathlib.Path(sys.argv[1] + ".py").resolve())
with tempfile.TemporaryDirectory() as folder:
    def run(*args):
        done = subprocess.run([sys.executable, script, *args], cwd=folder, capture_output=True, text=True, timeout=10)
        assert "Traceback" not in done.stderr and done.returncode == 0, (args, done.returncode, done.stderr)
        return done.stdout
    run("list")
    run("add", "Buy milk")
    run("add", "Walk the dog")
    listed = run("list")
    assert "Buy milk" in listed and "Walk the dog" in listed, listed
    stored = [p.read_text() for p in pathlib.Path(folder).iterdir() if p.suffix == ".json"]
    assert any("Buy milk" in text for text in stored), "no JSON file holds the task"
    usage = subprocess.run([sys.executable, script, "--help"], cwd=folder, capture_output=True, text=True).stdout
    for name in ("remove", "delete", "rm"):
        if name in usage:
            run(name, "1")
            left = run("list")
            assert "Buy milk" not in left and "Walk the dog" in left, left
            break
"""

SHOP = {
    "README.md": "# Shop\n\nPrices and carts for a small shop. Prices are in cents.\n\n## Test\n\npython -m pytest\n",
    "shop/__init__.py": "",
    "shop/cart.py": '''"""A cart of articles."""

from shop.prices import discounted


class Cart:
    """Articles with their prices in cents and how many of each."""

    def __init__(self):
        self.lines = {}

    def add(self, article, price, count=1):
        """Put articles into the cart; more of the same article add up."""
        if count < 1:
            raise ValueError("count must be at least 1")
        _, before = self.lines.get(article, (price, 0))
        self.lines[article] = (price, before + count)

    def remove(self, article, count=1):
        """Take articles out; an article that is used up disappears."""
        price, before = self.lines[article]
        if before <= count:
            self.lines[article] = (price, 0)
        else:
            self.lines[article] = (price, before - count)

    def total(self, percent=0):
        """Return what the cart costs in cents, after a discount."""
        return discounted(sum(price * count for price, count in self.lines.values()), percent)

    def articles(self):
        """List the articles in the cart, in the order of the alphabet."""
        return sorted(self.lines)
''',
    "shop/prices.py": '''"""Prices in cents."""


def discounted(cents, percent):
    """Return a price after a discount, rounded down to whole cents."""
    if not 0 <= percent <= 100:
        raise ValueError("percent must be between 0 and 100")
    return cents * (100 - percent) // 100


def shown(cents):
    """Return a price as text: 1250 is 12.50."""
    return f"{cents // 100}.{cents % 100:02d}"
''',
    "tests/test_shop.py": """import pytest

from shop.cart import Cart
from shop.prices import discounted, shown


def test_total_adds_up():
    cart = Cart()
    cart.add("tea", 450, 2)
    cart.add("cup", 1250)
    assert cart.total() == 2150


def test_removed_article_disappears():
    cart = Cart()
    cart.add("tea", 450, 2)
    cart.add("cup", 1250)
    cart.remove("tea", 2)
    assert cart.articles() == ["cup"]


def test_discount_is_rounded_down():
    assert discounted(999, 10) == 899


def test_discount_out_of_range_is_refused():
    with pytest.raises(ValueError):
        discounted(100, 101)


def test_shown_has_two_digits():
    assert shown(1205) == "12.05"
""",
}

FIX = """
from shop.cart import Cart
from shop.prices import discounted
cart = Cart()
cart.add("tea", 450, 3)
cart.remove("tea")
assert cart.lines["tea"] == (450, 2) and cart.total() == 900
cart.remove("tea", 5)
assert cart.articles() == [] and cart.total() == 0
assert discounted(999, 10) == 899
"""

GOALS = (
    Goal("add", "a Python function that adds two numbers", ADD),
    Goal("slug", "slug.py with slugify(text) and tests", SLUG),
    Goal("todo", "a command-line todo app that stores tasks in a JSON file", TODO),
    Goal("fix", "fix the failing test", FIX, check="python -m pytest -q", repo=SHOP),
)


async def attempt(goal: Goal, model: Model, name: str, trial: int) -> dict[str, Any]:
    """Build one goal once and judge it."""
    with tempfile.TemporaryDirectory(prefix="treadle-goal-") as folder:
        repo = make_repository(Path(folder) / "repo", goal.repo) if goal.repo else None
        settings = BuildSettings(seed=trial, temperature=TEMPERATURE if trial else 0.0)
        built = await build(model, name, goal.text, Path(folder), check=goal.check, repo=repo, settings=settings)
        accepted, said = await judge(goal, built)
    report = built.report
    return {
        "goal": goal.name,
        "model": name,
        "trial": trial,
        "claimed": bool(report["solved"]),
        "accepted": accepted,
        "solved": bool(report["solved"]) and accepted,
        "seconds": round(built.seconds, 1),
        "model_seconds": round(built.model_seconds, 1),
        "tokens": built.tokens,
        "calls": built.calls,
        "rounds": report["rounds"],
        "tests": report["tests"],
        "dropped": len(report["dropped"]),
        "reason": (report["reason"] or ("" if accepted else said))[-300:],
        "texts": {} if goal.repo else dict(built.texts),
    }


async def judge(goal: Goal, built: Built) -> tuple[bool, str]:
    """Run the hidden acceptance check on the files that the build left, whether it claims success or not."""
    files = dict(built.texts) | {"hidden_check.py": goal.accept}
    if goal.repo and any(files.get(path) != text for path, text in goal.repo.items() if path.startswith("tests/")):
        return False, "The tests of the repository were changed."
    if goal.repo:
        return await run_hidden(files, ["python", "hidden_check.py"])
    code = [path for path in built.texts if path.endswith(".py") and not path.startswith("test_")]
    return await run_hidden(files, ["python", "hidden_check.py", code[0].removesuffix(".py")]) if code else (False, "")


def make_repository(folder: Path, files: Mapping[str, str]) -> Path:
    """Make a git repository with one commit."""
    for name, text in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"]
    for args in (["init", "-q", "-b", "main"], ["add", "-A"], [*who, "commit", "-q", "-m", "Start"]):
        subprocess.run(["git", "-C", str(folder), *args], check=True)
    return folder


def table(records: list[dict[str, Any]]) -> str:
    """Show the trials as a table in Markdown."""
    lines = [
        "| model | goal | trial | solved | seconds | tokens | rounds | tests | dropped | why not |",
        "|" + "---|" * 10,
    ]
    for r in records:
        solved = "yes" if r["solved"] else ("claimed, wrong" if r["claimed"] else "no")
        why = " ".join(str(r["reason"]).replace("|", "/").split())[-90:] if not r["solved"] else ""
        cells = [
            r["model"],
            r["goal"],
            r["trial"],
            solved,
            r["seconds"],
            r["tokens"],
            r["rounds"],
            r["tests"],
            r["dropped"],
        ]
        lines.append("| " + " | ".join(map(str, [*cells, why])) + " |")
    solved, claimed = sum(r["solved"] for r in records), sum(r["claimed"] for r in records)
    lines += ["", f"Solved {solved} of {len(records)}; claimed {claimed}; of the claims {claimed - solved} were wrong."]
    return "\n".join(lines)


async def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the chosen goals, one after the other."""
    model = open_model(options)
    records = []
    try:
        for goal in (goal for goal in GOALS if not options.goal or goal.name in options.goal):
            for trial in range(options.first, options.first + options.trials):
                record = await attempt(goal, model, options.model, trial)
                records.append(record)
                shown = {
                    key: record[key] for key in ("goal", "trial", "solved", "seconds", "tokens", "rounds", "reason")
                }
                print(json.dumps(shown, ensure_ascii=False), file=sys.stderr)
                if options.out:
                    append(options.out, record)
    finally:
        await model.close()
    return records


def main(argv: list[str]) -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m bench goals", description=__doc__.partition("\n")[0])
    add_model_options(parser)
    parser.add_argument(
        "--goal", action="append", choices=[goal.name for goal in GOALS], help="only this one; repeatable"
    )
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial; the trial is the seed")
    parser.add_argument("--out", type=Path, help="append each trial to this JSONL file")
    print(table(asyncio.run(run(parser.parse_args(argv)))))
    return 0
