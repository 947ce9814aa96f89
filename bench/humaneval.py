"""HumanEval with a local model: one answer, against write-test-fix that never sees the hidden tests. Paired.

    python -m bench humaneval --data HumanEval.jsonl.gz --out results.jsonl [--model ...] [--every 8] [--concurrency 2]

Write-test-fix is the build pipeline as it is: the only tests it may see are the examples in the problem's own docstring
and those that it makes up. Both arms begin with the same greedy answer. Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import gzip
import json
import sys
import tempfile
from collections.abc import Iterable
from math import comb
from pathlib import Path
from typing import Any

from bench.building import add_model_options, append, build, open_model, read_records, run_hidden
from treadle.agents.answers import code_block
from treadle.agents.coder import MAX_TOKENS
from treadle.agents.goal import read_goal
from treadle.agents.prompt import SYSTEM, Prompts
from treadle.domain.messages import Message, ModelReply, ModelRequest
from treadle.errors import TreadleError
from treadle.ports.model import Model, OnDelta
from treadle.workflows import BuildSettings

Problem = dict[str, Any]
ARMS = {"single": None, "examples": False, "loop": True}
"""Arm to whether the model writes tests beside the examples; None: no loop at all."""


class Remembering:
    """Implements `ports.model.Model`: the answer that both arms begin with is asked for once, and counted twice."""

    def __init__(self, inner: Model, concurrency: int) -> None:
        self._inner = inner
        self._known: dict[str, ModelReply] = {}
        self._turn = asyncio.Semaphore(concurrency)
        self.provider = inner.provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        key = request.digest()
        if key not in self._known:
            async with self._turn:
                self._known[key] = await self._inner.reply(request)
        return self._known[key]

    async def close(self) -> None:
        await self._inner.close()


def read_problems(place: Path, every: int, first: int) -> list[Problem]:
    """Read the problems: each `every`-th, from number `first` on."""
    with gzip.open(place, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file][first::every]


def goal_of(problem: Problem) -> str:
    """State a problem as a goal: the function to complete, and nothing else."""
    return f"Complete the Python function `{problem['entry_point']}`.\n\n```python\n{problem['prompt'].strip()}\n```"


async def answer_once(problem: Problem, model: Model, name: str) -> tuple[str, int, float]:
    """Ask once, greedily, and return code, tokens and seconds."""
    skeleton = read_goal(goal_of(problem)).skeleton
    text = Prompts.load()["write_skeleton"].render(skeleton=skeleton)
    messages = (Message("system", SYSTEM), Message("user", str(text)))
    reply = await model.reply(ModelRequest(name, messages, max_tokens=MAX_TOKENS))
    return code_block(reply.text), reply.usage.total, reply.seconds


async def answer_in_loop(problem: Problem, model: Model, name: str, tests: bool) -> dict[str, Any]:
    """Let the pipeline solve it; its best version counts, also where it does not claim success."""
    with tempfile.TemporaryDirectory(prefix="treadle-humaneval-") as folder:
        settings = BuildSettings(tests=tests, test_seconds=10.0)
        built = await build(model, name, goal_of(problem), Path(folder), settings=settings)
    code = built.texts.get(built.report["files"][0], "")
    kept = {"claimed": built.report["solved"], "rounds": built.report["rounds"], "calls": built.calls}
    return kept | {
        "code": code,
        "tokens": built.tokens,
        "seconds": built.model_seconds,
        "wall": round(built.seconds, 2),
    }


async def is_right(problem: Problem, code: str) -> bool:
    """Run the hidden tests in the sandbox."""
    given = ast.parse(problem["prompt"] + "\n    pass\n")
    helpers = "\n\n".join(ast.unparse(node) for node in given.body[:-1])
    text = f"{helpers}\n\n{code}\n\n{problem['test']}\n\ncheck({problem['entry_point']})\nprint('all' + ' passed')\n"
    ended_well, said = await run_hidden({"hidden.py": text}, ["python", "hidden.py"])
    return ended_well and "all passed" in said


async def solve(problem: Problem, arm: str, model: Model, name: str) -> dict[str, Any]:
    """Solve one problem in one arm and judge it."""
    record: dict[str, Any] = {"task": problem["task_id"], "arm": arm, "model": name}
    tests = ARMS[arm]
    try:
        if tests is None:
            code, tokens, seconds = await answer_once(problem, model, name)
            record |= {"code": code, "tokens": tokens, "seconds": seconds, "calls": 1}
        else:
            record |= await answer_in_loop(problem, model, name, tests)
    except TreadleError as error:
        record |= {"code": "", "tokens": 0, "seconds": 0.0, "calls": 0, "error": str(error)}
    return record | {"right": await is_right(problem, record["code"])}


async def run(options: argparse.Namespace) -> None:
    """Solve what the results do not hold yet."""
    problems = read_problems(options.data, options.every, options.first)
    done = {(r["task"], r["arm"]) for r in read_records(options.out) if r["model"] == options.model}
    model = Remembering(open_model(options), options.concurrency)
    slots = asyncio.Semaphore(options.concurrency)

    async def one(problem: Problem) -> None:
        async with slots:
            for arm in options.arm:
                if (problem["task_id"], arm) not in done:
                    record = await solve(problem, arm, model, options.model)
                    append(options.out, record)
                    said = "right" if record["right"] else "wrong"
                    print(record["task"], arm, said, record["tokens"], "tokens", file=sys.stderr, flush=True)

    try:
        await asyncio.gather(*(one(problem) for problem in problems))
    finally:
        await model.close()


def summary(records: Iterable[dict[str, Any]], model: str, arms: list[str]) -> str:
    """Compare the arms on the problems that all of them have seen."""
    by_arm = {arm: {r["task"]: r for r in records if r["arm"] == arm and r["model"] == model} for arm in arms}
    tasks = set.intersection(*(set(found) for found in by_arm.values()))
    if not tasks:
        return "No problem has been seen by all arms."
    lines = [f"{model}, {len(tasks)} problems", "", "| arm | right | share | tokens | tokens, ratio | model seconds |"]
    lines.append("|---|---|---|---|---|---|")
    base = sum(by_arm[arms[0]][task]["tokens"] for task in tasks) or 1
    for arm, found in by_arm.items():
        right = sum(found[task]["right"] for task in tasks)
        tokens, seconds = (sum(found[task][key] for task in tasks) for key in ("tokens", "seconds"))
        cells = [arm, right, f"{100 * right / len(tasks):.1f}%", tokens, f"{tokens / base:.2f}", f"{seconds:.0f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    for arm in arms[1:]:
        lines += ["", _paired(by_arm[arms[0]], by_arm[arm], tasks, arms[0], arm)]
    return "\n".join(lines)


def _paired(before: dict[str, Any], after: dict[str, Any], tasks: set[str], first: str, second: str) -> str:
    won = sorted(task for task in tasks if after[task]["right"] and not before[task]["right"])
    lost = sorted(task for task in tasks if before[task]["right"] and not after[task]["right"])
    more = 100 * (len(won) - len(lost)) / len(tasks)
    chance = sign_test(len(won), len(lost))
    names = ", ".join(task.rpartition("/")[2] for task in lost) or "none"
    return (
        f"{second} against {first}: {len(won)} won, {len(lost)} lost ({more:+.1f} points; two-sided sign test "
        f"p = {chance:.3g}). Lost: {names}."
    )


def sign_test(won: int, lost: int) -> float:
    """Return how likely so uneven a split is by chance alone (exact McNemar)."""
    pairs = won + lost
    tail = sum(comb(pairs, k) for k in range(min(won, lost) + 1)) / 2**pairs
    return min(1.0, 2 * tail)


def main(argv: list[str]) -> int:
    """Run what is missing and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m bench humaneval", description=__doc__.partition("\n")[0])
    add_model_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="HumanEval.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="JSONL that results are appended to")
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="default: single and loop")
    parser.add_argument("--every", type=int, default=1, help="only each n-th problem")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=1, help="problems at the same time")
    parser.add_argument("--show", action="store_true", help="only print the comparison")
    options = parser.parse_args(argv)
    options.arm = options.arm or ["single", "loop"]
    if not options.show:
        asyncio.run(run(options))
    print(summary(read_records(options.out), options.model, options.arm))
    return 0
