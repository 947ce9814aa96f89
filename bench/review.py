"""What a model's review is worth: how often it sends back right code, and how often wrong code.

    python -m bench review --data HumanEval.jsonl.gz --out review.jsonl [--model ...] [--every 16]

Right code is the data's own solution; wrong code is the same with one mistake put in that the hidden tests see. Both
are reviewed as a build does it, with `review = "always"`. Interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from bench.building import Metered, add_model_options, append, open_model, read_records
from bench.humaneval import Problem, is_right, read_problems
from treadle.agents.ask import Asker
from treadle.agents.prompt import Prompts
from treadle.agents.reviewer import ReviewPolicy, Submission, review
from treadle.agents.workbench import FolderWorkbench
from treadle.domain.plan import PlannedTask
from treadle.engine.orchestrator import Orchestrator
from treadle.graph.build import Graph
from treadle.ports.context import NodeContext
from treadle.ports.model import Model
from treadle.sandboxes.choose import open_sandbox
from treadle.stores.memory import MemoryStore


class _State(TypedDict, total=False):
    said: dict[str, Any]


_SWAPPED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
_TURNED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv}


def mutants(source: str) -> Iterator[str]:
    """The source with one comparison, operation or number changed, each in turn."""
    count = sum(1 for _ in ast.walk(ast.parse(source)))
    for number in range(count):
        tree = ast.parse(source)
        node = list(ast.walk(tree))[number]
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _SWAPPED:
            node.ops[0] = _SWAPPED[type(node.ops[0])]()
        elif isinstance(node, ast.BinOp) and type(node.op) in _TURNED:
            node.op = _TURNED[type(node.op)]()
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            node.value += 1
        else:
            continue
        yield ast.unparse(tree) + "\n"


async def wrong_version(problem: Problem) -> str:
    """A mutant that the hidden tests see; empty if there is none among the first."""
    for number, source in enumerate(mutants(problem["prompt"] + problem["canonical_solution"])):
        if number >= 8:
            break
        if not await is_right(problem, source):
            return source
    return ""


async def judge(problem: Problem, source: str, model: Model, name: str) -> dict[str, Any]:
    """Review one version as a node of a run does it."""
    goal = f"Complete this function:\n\n```python\n{problem['prompt']}```"
    diff = "diff --git a/code.py b/code.py\nnew file mode 100644\n--- /dev/null\n+++ b/code.py\n"
    diff += f"@@ -0,0 +1,{len(source.splitlines())} @@\n"
    diff += "".join(f"+{line}\n" for line in source.splitlines())
    work = Submission(PlannedTask("t1", "Write code.py"), goal, diff, {"code.py": source}, tier="small")
    metered = Metered(model, name)
    with tempfile.TemporaryDirectory() as folder:
        bench = FolderWorkbench(await open_sandbox(Path(folder)))

        async def node(state: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
            asker = Asker(ctx, metered, name)
            policy = ReviewPolicy(review="always")
            return {"said": await review(work, ctx, asker, Prompts.load(), bench, policy=policy)}

        graph = Graph("review", state=_State).add_node("review", node)
        graph.set_entry_point("review").set_finish_point("review")
        async with Orchestrator(MemoryStore()) as orchestrator:
            said = dict(await orchestrator.execute(graph, {}))["said"]
        await bench.sandbox.close()
    by = "tests" if said["failed"] else "opinion" if said["reasons"] else ""
    return {"verdict": said["verdict"], "by": by, "tokens": metered.tokens, "tests": len(said["tests"])}


async def run(options: argparse.Namespace) -> None:
    model, done = open_model(options), read_records(options.out) if options.out.exists() else []
    known = {(record["task"], record["right"]) for record in done}
    for problem in read_problems(options.data, options.every, options.first):
        right = problem["prompt"] + problem["canonical_solution"]
        for is_sound, source in ((True, right), (False, await wrong_version(problem))):
            if source and (problem["task_id"], is_sound) not in known:
                said = await judge(problem, source, model, options.model)
                append(options.out, {"task": problem["task_id"], "right": is_sound, **said})
    await model.close()


def summary(records: list[dict[str, Any]]) -> str:
    lines = []
    for is_sound in (True, False):
        own = [record for record in records if record["right"] is is_sound]
        back = [record for record in own if record["verdict"] != "accept"]
        by_tests = sum(1 for record in back if record["by"] == "tests")
        tokens = sum(record["tokens"] for record in own) // max(1, len(own))
        what = "right" if is_sound else "wrong"
        lines.append(f"{what}: {len(back)} of {len(own)} sent back ({by_tests} by tests); {tokens} tokens each")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench review", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=16)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args(argv)
    asyncio.run(run(options))
    print(summary(read_records(options.out)))
    return 0
