"""The QA review of a task's work: a node of every task graph, between the proof and the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from treadle.agents.reviewer import ReviewPolicy, Submission, review
from treadle.agents.trial import Outcome
from treadle.agents.workbench import Files
from treadle.domain.plan import PlannedTask
from treadle.ports.context import NodeContext
from treadle.ports.sandbox import ExecResult
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import climb

Update = dict[str, Any]
_MAX_BYTES = 200_000


class Review:
    """Nodes over a crew in the task's room."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def review(self, state: WorkState, ctx: NodeContext) -> Update:
        """Accept what the task made, send it back with reasons, or have a higher tier do it."""
        snapshots, asker = self.crew.workspace.snapshots, self.crew.asker(ctx, state)
        base, tree = state["base"], state["tree"]
        texts = {path: await snapshots.read(tree, path) for path in await snapshots.changed(base, tree)}
        kept = {path: text for path, text in texts.items() if text and "\0" not in text and len(text) < _MAX_BYTES}
        task, before = msgspec.convert(state["task"], PlannedTask), state.get("review") or {}
        own = () if state.get("alone") or not task.files else (*task.files, *_test_files(state))
        work = Submission(
            replace(task, files=own),
            state["goal"],
            await snapshots.diff(base, tree),
            kept,
            round=int(before.get("round", 0)),
            tier=self.crew.tiers[state.get("tier", 0)].name,
        )
        policy = ReviewPolicy(self.crew.settings.review, seed=self.crew.settings.seed)
        said = await review(work, ctx, asker, self.crew.prompts, TreeWorkbench(self.crew, base), policy=policy)
        for reason in said["reasons"]:
            ctx.log(f"Review: {reason}")
        kept_review = {**said, "round": work.round + (said["verdict"] == "send_back")}
        return {"review": kept_review, **self._next(state, ctx, said), **spent(asker)}

    def _next(self, state: WorkState, ctx: NodeContext, said: dict[str, Any]) -> Update:
        problem = "\n\n".join(said["reasons"])
        if said["verdict"] == "accept":
            return {"move": {"action": "finish", "problem": ""}}
        sent_back: Update = {"move": {"action": "reflect", "problem": problem}, **rejected(state, problem)}
        if said["verdict"] == "send_back":
            return sent_back
        climbed = climb(self.crew, state, ctx, problem)
        if climbed:
            return {**sent_back, **climbed, "round": state["round"] + 1}
        return {"move": {"action": "stop", "problem": f"The review does not accept it: {problem}"}}


def _test_files(state: WorkState) -> tuple[str, ...]:
    """Where the tests of a change go: beside those that are there, whatever they are called."""
    layout = state["brief"].get("layout")
    return (layout["place"]["path"],) if layout else ()


def rejected(state: WorkState, problem: str) -> Update:
    """Mark the version under review as unusable, so that none of its agreement with tests brings it back."""
    best = state.get("proved", len(state["candidates"]) - 1)
    candidates = list(state["candidates"])
    candidates[best] = candidates[best] | {"flaw": f"A review sent it back: {problem}"}
    return {"candidates": candidates}


@dataclass(frozen=True, slots=True)
class TreeWorkbench:
    """Implements `agents.workbench.Workbench` over a task's room: files are laid over the tree it began from."""

    crew: Crew
    base: str

    async def run_tests(self, files: Files, test_file: str) -> Outcome:
        """See `Workbench.run_tests`."""
        await self.crew.workspace.write(self.base, files)
        return await self.crew.run_tests(test_file)

    async def run(self, files: Files, argv: Sequence[str]) -> ExecResult:
        """See `Workbench.run`."""
        await self.crew.workspace.write(self.base, files)
        limits = replace(self.crew.settings.limits, wall_seconds=self.crew.settings.check_seconds)
        return await self.crew.sandbox.exec(argv, limits=limits, env={"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"})
