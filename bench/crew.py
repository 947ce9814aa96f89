"""The crew on the 30 goals of `bench/dev_goals`, judged by hidden tests; beside it, peers with the same model.

    python -m bench crew --out results.jsonl [--model qwen2.5-coder:1.5b] [--size function] [--peer aider]

With `--exercises CLONE`, on the exercises of a clone of github.com/exercism/python instead, whose tests are given.

Solved means: handed over as done, and accepted by tests that no agent saw. Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.building import Built, add_model_options, append, build, open_model, read_records
from bench.crew_goals import EXERCISE, SIZES, DevGoal, dev_goals, exercises, judge
from bench.goals import make_repository
from treadle.errors import TreadleError
from treadle.ports.model import Model
from treadle.workflows import BuildSettings

Record = dict[str, Any]


async def attempt(goal: DevGoal, model: Model, options: argparse.Namespace, seed: int) -> Record:
    """Build one goal once and judge it."""
    began = time.perf_counter()
    record: Record = {"goal": goal.name, "size": goal.size, "model": options.model, "who": options.label, "seed": seed}
    record |= {"temperature": options.temperature, "treadle": version("treadle")}
    with tempfile.TemporaryDirectory(prefix="treadle-crew-") as folder:
        repo = make_repository(Path(folder) / "repo", goal.given) if goal.given else None
        settings = BuildSettings(seed=seed, temperature=options.temperature)
        try:
            built = await build(
                model, options.model, goal.text, Path(folder), check=goal.check, repo=repo, settings=settings
            )
        except TreadleError as error:
            lost = {"claimed": False, "accepted": False, "solved": False, "tokens": 0, "calls": 0, "model_seconds": 0.0}
            return record | lost | {"seconds": round(time.perf_counter() - began, 1), "reason": f"error: {error}"}
    accepted, said = await judge(goal, built.texts)
    return record | _outcome(goal, built, accepted, said)


def _outcome(goal: DevGoal, built: Built, accepted: bool, said: str) -> Record:
    report, claimed = built.report, bool(built.report["solved"])
    changed = {path: text for path, text in built.texts.items() if goal.given.get(path) != text}
    return {
        "claimed": claimed,
        "accepted": accepted,
        "solved": claimed and accepted,
        "seconds": round(built.seconds, 1),
        "model_seconds": round(built.model_seconds, 1),
        "test_seconds": round(built.test_seconds, 2),
        "own_seconds": round(built.own_seconds, 2),
        "tokens": built.tokens,
        "calls": built.calls,
        "rounds": report["rounds"],
        "tests": report["tests"],
        "dropped": len(report["dropped"]),
        "coverage": report.get("coverage"),
        "reason": str(report["reason"] or ("" if accepted else said))[-600:],
        "said": "" if accepted else said[-300:],
        "texts": changed,
    }


def summary(records: Iterable[Record], sizes: Iterable[str]) -> str:
    """Compare who solved how many, for what, size by size."""
    by_who: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_who.setdefault((record["model"], record["who"]), []).append(record)
    heads = ("model", "who", "size", "solved", "claimed", "tokens", "tokens per solved", "seconds", "overhead")
    rows = []
    for (model, who), found in by_who.items():
        groups = [(size, [r for r in found if r["size"] == size]) for size in sizes]
        groups = [(size, group) for size, group in groups if group]
        if len(groups) > 1:
            groups.append(("all", [record for _, group in groups for record in group]))
        rows += [(model, who, size, *_figures(group)) for size, group in groups]
    return _table(heads, rows)


def _figures(group: list[Record]) -> tuple[str, ...]:
    solved, tokens = sum(r["solved"] for r in group), sum(r["tokens"] for r in group)
    own, tests = (sum(r.get(key) or 0.0 for r in group) for key in ("own_seconds", "test_seconds"))
    rest = sum(r["model_seconds"] for r in group) + tests
    return (
        f"{solved} of {len(group)}",
        str(sum(r["claimed"] for r in group)),
        f"{tokens:,}",
        f"{tokens // solved:,}" if solved else "-",
        f"{sum(r['seconds'] for r in group):,.0f}",
        f"{100 * own / (own + rest):.1f}%" if own else "-",
    )


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def each_goal(records: Iterable[Record]) -> str:
    """One line for each attempt."""
    rows = []
    for r in records:
        solved = "yes" if r["solved"] else ("claimed, wrong" if r["claimed"] else "no")
        why = "" if r["solved"] else " ".join(str(r.get("said") or r["reason"]).replace("|", "/").split())[-90:]
        rows.append(
            (r["size"], r["goal"], r["who"], str(r["seed"]), solved, f"{r['tokens']:,}", f"{r['seconds']:.0f}", why)
        )
    return _table(("size", "goal", "who", "seed", "solved", "tokens", "seconds", "why not"), rows)


async def run(options: argparse.Namespace) -> None:
    """Attempt what the results do not hold yet."""
    done = {(r["goal"], r["model"], r["who"], r["seed"]) for r in read_records(options.out)}
    asked = exercises(options.exercises, options.nth) if options.exercises else dev_goals(tuple(options.size or SIZES))
    goals = [goal for goal in asked if not options.goal or goal.name in options.goal]
    model = open_model(options)
    attempting = _peer(options) if options.peer else attempt
    slots = asyncio.Semaphore(options.concurrency)

    async def one(goal: DevGoal, seed: int) -> None:
        async with slots:
            record = await attempting(goal, model, options, seed)
            append(options.out, record)
            said = "solved" if record["solved"] else "claimed, wrong" if record["claimed"] else "not solved"
            told = f"{goal.size}/{goal.name} seed {seed}: {said}, {record['tokens']} tokens, {record['seconds']} s"
            print(told, file=sys.stderr, flush=True)

    missing = [(goal, seed) for seed in options.seed or [0] for goal in goals]
    missing = [(g, seed) for g, seed in missing if (g.name, options.model, options.label, seed) not in done]
    try:
        await asyncio.gather(*(one(goal, seed) for goal, seed in missing))
    finally:
        await model.close()


def _peer(options: argparse.Namespace) -> Callable[..., Any]:
    from bench.crew_peers import peer

    return peer(options.peer)


def main(argv: list[str]) -> int:
    """Run what is missing and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m bench crew", description=__doc__.partition("\n")[0])
    add_model_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="JSONL that results are appended to")
    parser.add_argument("--size", action="append", choices=SIZES, help="only goals of this size; repeatable")
    parser.add_argument("--exercises", type=Path, metavar="CLONE", help="of exercism/python; they replace the 30 goals")
    parser.add_argument("--nth", type=int, default=1, help="only each Nth exercise, by name")
    parser.add_argument("--goal", action="append", help="only this goal; repeatable")
    parser.add_argument("--seed", action="append", type=int, help="repeatable; default: 0")
    parser.add_argument("--temperature", type=float, default=0.0, help="of first versions; later ones are warmer")
    parser.add_argument("--label", default="", help="who the records are said to be of; default: treadle, or the peer")
    parser.add_argument("--concurrency", type=int, default=1, help="goals at the same time; their seconds overlap")
    parser.add_argument("--peer", choices=("aider", "mini-swe-agent"), help="let a peer do it instead")
    parser.add_argument("--each", action="store_true", help="print each attempt too")
    parser.add_argument("--show", action="store_true", help="only print")
    options = parser.parse_args(argv)
    options.label = options.label or options.peer or "treadle"
    if not options.show:
        asyncio.run(run(options))
    records = [r for r in read_records(options.out) if not options.goal or r["goal"] in options.goal]
    sizes = (EXERCISE,) if options.exercises else tuple(options.size or SIZES)
    records = [r for r in records if r["size"] in sizes]
    if options.each:
        print(each_goal(records), end="\n\n")
    print(summary(records, sizes))
    return 0
