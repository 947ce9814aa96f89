"""What escalation costs and brings, beside always asking a small model or always a frontier one. Recorded outcomes.

    python -m bench routing [--markdown] [--price small=0 --price frontier=6]

Nothing is asked: `results/` holds what real builds with two local models came to, on the same tasks. The small tier is
qwen2.5-coder:0.5b; the part of the frontier is played by the strongest model that was recorded, 1.5b.

What is recorded: whether a build's own checks passed, whether the hidden tests did, and tokens. What is priced by a
table: USD per million tokens, as if the frontier were a paid one. Escalation is reckoned as the small build, and a
whole build by the frontier where the checks of the small one failed; a real one takes over tests and versions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.building import read_records
from bench.humaneval import sign_test

RESULTS = Path(__file__).with_name("results")
PRICES = {"small": 0.0, "frontier": 6.0}
"""USD per million tokens, input and output together: own hardware, and about what a large hosted model takes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one build with one model came to."""

    claimed: bool
    """Its own checks passed: all that a router can see."""
    right: bool
    """The hidden tests passed."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Task:
    """One task with both outcomes."""

    name: str
    small: Outcome
    frontier: Outcome


@dataclass(frozen=True, slots=True)
class Asked:
    """What a policy came to on one task."""

    right: bool
    small_tokens: int
    frontier_tokens: int


Policy = Callable[[Task], Asked]


def always_small(task: Task) -> Asked:
    return Asked(task.small.right, task.small.tokens, 0)


def always_frontier(task: Task) -> Asked:
    return Asked(task.frontier.right, 0, task.frontier.tokens)


def escalation(task: Task) -> Asked:
    """Ask the small model, and the frontier where its checks keep failing; what passes its checks is handed over."""
    if task.small.claimed:
        return always_small(task)
    return Asked(task.frontier.right, task.small.tokens, task.frontier.tokens)


def foresight(task: Task) -> Asked:
    """Know beforehand whether the small model will do: no router brings more."""
    return always_small(task) if task.small.right else always_frontier(task)


POLICIES: dict[str, Policy] = {
    "always small": always_small,
    "always frontier": always_frontier,
    "escalation": escalation,
    "foresight": foresight,
}


def human_eval() -> list[Task]:
    """Functions to complete; the build sees the examples in the docstring, and hidden tests judge."""

    def outcomes(model: str) -> dict[str, Outcome]:
        records = read_records(RESULTS / f"humaneval-{model}.jsonl")
        return {
            str(r["task"]): Outcome(r["claimed"], r["right"], r["tokens"]) for r in records if r["arm"] == "examples"
        }

    return _paired(outcomes("qwen2.5-coder-0.5b"), outcomes("qwen2.5-coder-1.5b"))


def goals() -> list[Task]:
    """Small programs from a goal in words; the build writes its own tests, and checks that it never sees judge."""

    def outcomes(model: str) -> dict[str, Outcome]:
        records = read_records(RESULTS / f"goals-{model}.jsonl")
        return {f"{r['goal']}/{r['trial']}": Outcome(r["claimed"], r["accepted"], r["tokens"]) for r in records}

    return _paired(outcomes("qwen2.5-coder-0.5b"), outcomes("qwen2.5-coder-1.5b"))


WORKLOADS = {"HumanEval": human_eval, "goals": goals}


def _paired(small: dict[str, Outcome], frontier: dict[str, Outcome]) -> list[Task]:
    """The tasks that both models have seen."""
    return [Task(name, small[name], frontier[name]) for name in sorted(small.keys() & frontier.keys())]


def usd(asked: Asked, prices: dict[str, float]) -> float:
    return (asked.small_tokens * prices["small"] + asked.frontier_tokens * prices["frontier"]) / 1e6


def rows(tasks: list[Task], prices: dict[str, float]) -> list[list[str]]:
    """One row per policy: success, tokens of each tier, money in all and per task that came out right."""
    table = []
    for name, policy in POLICIES.items():
        came = [policy(task) for task in tasks]
        right = sum(asked.right for asked in came)
        money = sum(usd(asked, prices) for asked in came)
        small, frontier = sum(asked.small_tokens for asked in came), sum(asked.frontier_tokens for asked in came)
        each = f"{1000 * money / right:.2f}" if right else "-"
        table.append(
            [name, f"{right} ({100 * right / len(tasks):.0f}%)", f"{small:,}", f"{frontier:,}", f"{money:.3f}", each]
        )
    return table


HEAD = ["policy", "right", "tokens, small", "tokens, frontier", "USD", "USD per 1,000 right"]


def report(name: str, tasks: list[Task], prices: dict[str, float], *, markdown: bool) -> str:
    """The table of one workload, and what it comes to against always asking the frontier."""
    table = [HEAD, *rows(tasks, prices)]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in table]
        lines.insert(1, "|" + "---|" * len(HEAD))
    else:
        widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
    return "\n".join([f"{name}, {len(tasks)} tasks", "", *lines, "", *_remarks(tasks, prices)])


def _remarks(tasks: list[Task], prices: dict[str, float]) -> Iterable[str]:
    climbed = [task for task in tasks if not task.small.claimed]
    unseen = sum(task.small.claimed and not task.small.right for task in tasks)
    won = sum(escalation(task).right and not task.frontier.right for task in tasks)
    lost = sum(task.frontier.right and not escalation(task).right for task in tasks)
    spent, frontier = (sum(usd(policy(task), prices) for task in tasks) for policy in (escalation, always_frontier))
    share = f"{100 * spent / frontier:.0f}% of the money of" if frontier else "against"
    yield (
        f"Escalation climbed on {len(climbed)} of {len(tasks)} tasks, for {share} always frontier: {won} won, {lost} "
        f"lost against it (two-sided sign test p = {sign_test(won, lost):.2g}). On {unseen} the small model passed its "
        "own checks and was wrong, which no escalation sees."
    )


def _price(text: str) -> tuple[str, float]:
    tier, equals, price = text.partition("=")
    if tier not in PRICES or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not small=USD or frontier=USD")
    return tier, float(price)


def main(argv: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench routing", description=__doc__.partition("\n")[0])
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument(
        "--price", action="append", type=_price, default=[], metavar="TIER=USD", help="per million tokens"
    )
    options = parser.parse_args(argv)
    prices: dict[str, Any] = PRICES | dict(options.price)
    print(f"Priced at {prices['small']:g} USD (small) and {prices['frontier']:g} USD (frontier) per million tokens.")
    for name, read in WORKLOADS.items():
        print("\n" + report(name, read(), prices, markdown=options.markdown))
    return 0
