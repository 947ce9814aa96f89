"""`python -m bench merging`: three tasks at once that change one file; do they come together in a passing whole?

Per trial the three versions become branches in a real snapshot store and are merged by the merge coordinator. A trial
is passed if all three are merged and the tests of all three pass, in a sandbox. `git` counts the trials that git alone
would pass; `rules` has no model; `model` asks one where rules do not do. What nobody settled otherwise is tried:
`guess` in the column of who settled it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.building import Metered, add_model_options, append, open_model, run_hidden
from bench.merging_cases import FILE, SHAPES, Trial, trials
from treadle.agents.ask import Asker
from treadle.agents.merge_plan import Branch, Merged
from treadle.agents.merger import merge_all
from treadle.agents.prompt import Prompts
from treadle.engine.orchestrator import Orchestrator
from treadle.graph.build import Graph
from treadle.ports.context import NodeContext
from treadle.ports.model import Model
from treadle.stores.memory import MemoryStore
from treadle.workspace import CommitNote, History, Workspace, merge

ARMS = ("git", "rules", "model")


@dataclass(frozen=True, slots=True)
class Result:
    """One trial in one arm."""

    arm: str
    shape: str
    seed: int
    passed: bool
    settled: tuple[str, ...] = ()
    """Who settled each conflict."""
    problem: str = ""
    tokens: int = 0
    seconds: float = 0.0
    text: str = ""


class Bench:
    """The trials over one model."""

    def __init__(self, model: Model | None, name: str, seed: int) -> None:
        self._model = model
        self._name = name
        self._seed = seed

    async def run(self, arm: str, trial: Trial, folder: Path) -> Result:
        """Merge the three versions of one trial in a folder of its own."""
        began = time.perf_counter()
        workspace = await Workspace.open(folder, "bench")
        history = History(workspace.snapshots, "bench")
        base = await history.begin(await workspace.write(await workspace.empty(), {FILE: trial.base}))
        branches = []
        for number, change in enumerate(trial.changes, start=1):
            files = {FILE: change.source, f"check_{number}.py": f"import app\n\n{change.test}\n"}
            tree = await workspace.write(await history.tree(base), files)
            commit = await history.commit(tree, CommitNote("bench", change.title), [base])
            branches.append(Branch(f"{number}", commit, change.title))
        if arm == "git":
            return await self._by_git(trial, workspace, branches)
        return await self._by_coordinator(arm, trial, workspace, base, branches, began)

    async def _by_git(self, trial: Trial, workspace: Workspace, branches: Sequence[Branch]) -> Result:
        """Merge without settling anything."""
        tip = branches[0].commit
        for branch in branches[1:]:
            done = await merge(workspace.snapshots, tip, branch.commit, "bench")
            if not done.is_clean:
                return Result("git", trial.shape, trial.seed, passed=False, problem="conflict")
            note = CommitNote("bench", "Merge")
            tip = await History(workspace.snapshots, "bench").commit(done.tree, note, [tip, branch.commit])
        tree = await History(workspace.snapshots, "bench").tree(tip)
        problem = await prove(workspace, tree, ["1", "2", "3"])
        return Result("git", trial.shape, trial.seed, not problem, problem=problem)

    async def _by_coordinator(
        self, arm: str, trial: Trial, workspace: Workspace, base: str, branches: list[Branch], began: float
    ) -> Result:
        metered = Metered(self._model, self._name) if arm == "model" and self._model else None

        async def node(state: dict[str, Any], ctx: NodeContext) -> dict[str, Any]:
            merged = await merge_all(
                branches,
                base,
                history=History(workspace.snapshots, "bench"),
                ctx=ctx,
                prompts=Prompts.load(),
                prove=lambda tree, tasks: prove(workspace, tree, tasks),
                asker=Asker(ctx, metered, self._name) if metered else None,
                seed=self._seed,
            )
            return {"merged": merged.plain()}

        graph = Graph("merging").add_node("merge", node).set_entry_point("merge").set_finish_point("merge")
        async with Orchestrator(MemoryStore()) as orchestrator:
            state = await orchestrator.execute(graph, {})
        merged = Merged.of(state["merged"])
        problem = await prove(workspace, merged.tree, ["1", "2", "3"])
        return Result(
            arm,
            trial.shape,
            trial.seed,
            passed=len(merged.merged) == len(branches) and not problem,
            settled=tuple(one.by for one in merged.conflicts),
            problem=merged.problem,
            tokens=metered.tokens if metered else 0,
            seconds=time.perf_counter() - began,
            text=await workspace.read(merged.tree, FILE) or "",
        )


async def prove(workspace: Workspace, tree: str, tasks: Sequence[str]) -> str:
    """Run the tests of some tasks in a sandbox; returns what fails first."""
    source = await workspace.read(tree, FILE) or ""
    for task in tasks:
        check = await workspace.read(tree, f"check_{task}.py")
        if check is None:
            return f"Task {task} is not there."
        passed, output = await run_hidden({FILE: source, "check.py": check}, ["python3", "check.py"])
        if not passed:
            return (
                f"The test of task {task} fails: {output.strip().splitlines()[-1] if output.strip() else 'no output'}"
            )
    return ""


def report(results: Sequence[Result]) -> str:
    """A table by shape, and the sums."""
    arms = [arm for arm in ARMS if any(result.arm == arm for result in results)]
    lines = ["| shape | trials | " + " | ".join(arms) + " | settled by |", "|---" * (3 + len(arms)) + "|"]
    for shape in [*(shape.__name__ for shape in SHAPES), "all"]:
        of = [result for result in results if shape in ("all", result.shape)]
        if not of:
            continue
        passed = [sum(result.passed for result in of if result.arm == arm) for arm in arms]
        by = Counter(who for result in of if result.arm == arms[-1] for who in result.settled)
        who = ", ".join(f"{name} {count}" for name, count in by.most_common()) or "-"
        count = len([result for result in of if result.arm == arms[0]])
        lines.append(f"| {shape} | {count} | " + " | ".join(map(str, passed)) + f" | {who} |")
    return "\n".join(lines)


async def _run(options: argparse.Namespace) -> list[Result]:
    model = open_model(options) if "model" in options.arm else None
    bench, results = Bench(model, options.model, options.seed), []
    try:
        for trial in trials(options.trials, options.seed):
            for arm in options.arm:
                with tempfile.TemporaryDirectory(prefix="treadle-merging-") as folder:
                    result = await bench.run(arm, trial, Path(folder))
                results.append(result)
                said = "passed" if result.passed else f"not passed: {result.problem[:200]}"
                print(f"{trial.shape:14} {trial.seed:4} {arm:6} {said}  {' '.join(result.settled)}", flush=True)
                if options.out:
                    append(options.out, asdict(result))
    finally:
        if model is not None:
            await model.close()
    return results


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench merging", description=__doc__)
    add_model_options(parser)
    parser.add_argument("--arm", action="append", choices=ARMS, help="may be given several times; default: all")
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="append one JSON line per trial")
    options = parser.parse_args(argv)
    options.arm = options.arm or list(ARMS)
    results = asyncio.run(_run(options))
    print("\n" + report(results))
    tokens, seconds = sum(result.tokens for result in results), sum(result.seconds for result in results)
    print(f"\n{tokens:,} tokens, {seconds:.0f} s")
    return 0
