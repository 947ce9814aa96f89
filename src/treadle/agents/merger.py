"""The merge coordinator: brings the work of tasks together, so that all that it returns passes its tests together.

Call it in a node, at the machine that has the run's history:

    merged = await merge_all(branches, base, history=History(workspace.snapshots, ctx.run_id), ctx=ctx,
                             asker=asker, prompts=prompts, prove=prove)

Branches are merged in the order in which they need each other. What git cannot merge is settled by rule, then by a
model, then by trying, and counts only if the tests of both tasks pass. When the whole fails though each step was fine,
the merges are bisected: the first one that broke it is left out, with the tasks that it clashes with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from treadle.agents.ask import Asker
from treadle.agents.merge_plan import Branch, LeftOut, Merged, Prove, Settled, Settler, first_bad, in_order
from treadle.agents.merge_settle import WAYS, Settling, Sides, unmergeable
from treadle.agents.prompt import Prompts
from treadle.ports.context import NodeContext
from treadle.workspace import CommitNote, History, Merge, merge, provenance_trailers, replaced

_MAX_PAIRS = 4
_HARDEST: tuple[Settler, ...] = ("git", "rule", "guess", "model")


async def merge_all(
    branches: Sequence[Branch],
    base: str,
    *,
    history: History,
    ctx: NodeContext,
    prompts: Prompts,
    prove: Prove,
    asker: Asker | None = None,
    seed: int = 0,
    taken: Sequence[str] = (),
) -> Merged:
    """Merge branches into the commit `base`, from which, or from a commit before which, all of them began.

    `taken` are the tasks whose work is in `base`: their tests must go on passing.
    Journaled under keys that begin with `settle.` (questions to the model) and `prove.`; commits are the same each
    time, so a node that is entered again goes on where it was. Without an asker there are rules and guesses only.
    A single branch on a base without tasks is taken as it is, unproved: there is nothing that it could clash with.

    Raises: What `Asker.ask`, `prove` and the snapshot store raise.
    """
    merger = _Merger(base, history, ctx, prompts, prove, asker, Settling(prompts, asker, seed), tuple(taken))
    return await merger.run(in_order(branches))


@dataclass(frozen=True, slots=True)
class _Step:
    """The whole after one more branch."""

    branch: Branch
    commit: str
    tree: str
    tasks: tuple[str, ...]
    """Whose work is in it."""
    settled: tuple[Settled, ...] = ()


@dataclass(slots=True)
class _Merger:
    base: str
    history: History
    ctx: NodeContext
    prompts: Prompts
    prove: Prove
    asker: Asker | None
    settling: Settling
    taken: tuple[str, ...]
    left: list[LeftOut] = field(default_factory=list)
    counted: int = 0
    """Tokens that are on a commit already."""
    proofs: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    async def run(self, branches: list[Branch]) -> Merged:
        """Merge, prove the whole, and leave one branch out as long as the whole fails."""
        while True:
            steps = await self._join([branch for branch in branches if not self._is_left(branch.task)])
            if not steps:
                return Merged(self.base, await self.history.tree(self.base), left=tuple(self.left))
            last = steps[-1]
            if self._is_untouched(last) or not await self._proof(last.tree, last.tasks):
                settled = tuple(one for step in steps for one in step.settled)
                merged = tuple(step.branch.task for step in steps)
                return Merged(last.commit, last.tree, merged, settled, tuple(self.left))
            self.left.append(await self._culprit(steps))
            self.ctx.log(f"Left {self.left[-1].task} out: {self.left[-1].problem}")

    async def _join(self, branches: list[Branch]) -> list[_Step]:
        """Merge one branch after the other. Ends early with a last step that does not pass, if there is one."""
        steps: list[_Step] = []
        for branch in branches:
            missing = [task for task in branch.needs if self._is_left(task)]
            if missing:
                self.left.append(LeftOut(branch.task, f"It needs {missing[0]}, which is not there.", tuple(missing)))
                continue
            step = await self._step(steps, branch)
            if isinstance(step, _Step):
                steps.append(step)
            elif steps and not self._is_untouched(steps[-1]) and await self._proof(steps[-1].tree, steps[-1].tasks):
                break  # the whole was broken before this branch, so nothing can be said about it
            else:
                self.left.append(step)
                self.ctx.log(f"Left {step.task} out: {step.problem}")
        return steps

    async def _step(self, steps: list[_Step], branch: Branch) -> _Step | LeftOut:
        tip = steps[-1].commit if steps else self.base
        tasks = (*(steps[-1].tasks if steps else self.taken), branch.task)
        if await self.history.contains(branch.commit, tip):
            return _Step(branch, branch.commit, await self.history.tree(branch.commit), tasks)
        merged = await merge(self.history.snapshots, tip, branch.commit, self.history.run_id)
        if merged.is_clean:
            return await self._made(branch, tip, merged.tree, tasks, ())
        return await self._settled(steps, branch, merged, tasks)

    async def _settled(
        self, steps: list[_Step], branch: Branch, merged: Merge, tasks: tuple[str, ...]
    ) -> _Step | LeftOut:
        """Settle the conflicts of one merge in a way that the tests of all tasks so far pass."""
        paths = {conflict.path for conflict in merged.conflicts}
        others = [step.branch for step in steps if paths & set(await self._paths(step.branch))]
        hopeless = unmergeable(merged.conflicts)
        problem = "; ".join(f"{path} cannot be merged: {reason}" for path, reason in hopeless.items())
        titles = "; ".join(other.title or other.task for other in others) or "what was there already"
        sides = Sides(branch.task, titles, branch.title or branch.task)
        tried, told = set[str](), ""
        for way in () if hopeless else WAYS:
            found = await self.settling.settled(merged.conflicts, sides, way, told)
            if found is None:
                continue
            tree = await replaced(self.history.snapshots, merged.tree, found[0], self.history.run_id)
            if tree not in tried:
                problem = await self._proof(tree, tasks)
                if not problem:
                    return await self._made(branch, merged.ours, tree, tasks, found[1])
                tried.add(tree)
                told = problem if way == "model" else told
        clash = tuple(other.task for other in others)
        about = f"{branch.task} and {', '.join(clash) or 'what was there'} change the same part of {min(paths)}"
        return LeftOut(branch.task, f"{about}, and no way to have both passes: {problem or 'none was found.'}", clash)

    async def _made(
        self, branch: Branch, tip: str, tree: str, tasks: tuple[str, ...], settled: tuple[Settled, ...]
    ) -> _Step:
        by = max((one.by for one in settled), key=_HARDEST.index, default="git")
        trailers = {**self._provenance(branch.task), "Treadle-Merge": by}
        paths = ", ".join(f"{one.path} ({one.kind}, by {one.by})" for one in settled)
        note = CommitNote(
            self.history.run_id,
            f"Merge {branch.task}: {branch.title}".rstrip(": "),
            f"Settled: {paths}" if settled else "",
            trailers,
            max(await self.history.when(tip), await self.history.when(branch.commit)),
        )
        commit = await self.history.commit(tree, note, [tip, branch.commit])
        self.ctx.log(f"Merged {branch.task}" + (f"; settled {paths}" if settled else ""))
        return _Step(branch, commit, tree, tasks, settled)

    def _provenance(self, task: str) -> dict[str, str]:
        if self.asker is None or self.asker.tokens == self.counted:
            return provenance_trailers(task=task)
        tokens, self.counted = self.asker.tokens - self.counted, self.asker.tokens
        prompt = self.prompts["merge_hunk"].label
        return provenance_trailers(task=task, models=[self.asker.last_model], prompts=prompt, tokens=tokens)

    async def _proof(self, tree: str, tasks: tuple[str, ...]) -> str:
        """Say what fails in a tree. Journaled; the same question is asked once."""
        if (tree, tasks) not in self.proofs:
            request = {"tool": "prove", "tree": tree, "tasks": list(tasks)}
            said = await self.ctx.step(
                f"prove.{len(self.proofs)}", lambda: self.prove(tree, tasks), kind="tool", request=request
            )
            self.proofs[tree, tasks] = said
        return self.proofs[tree, tasks]

    async def _culprit(self, steps: list[_Step]) -> LeftOut:
        """Find the first merge after which the whole fails, and with which task it clashes."""

        async def is_bad(number: int) -> bool:
            return bool(await self._proof(steps[number].tree, steps[number].tasks))

        number = await first_bad(len(steps), is_bad)
        bad, before = steps[number], steps[:number]
        problem = await self._proof(bad.tree, bad.tasks)
        alone = await self.history.tree(bad.branch.commit)
        if not (before or self.taken) or await self._proof(alone, (bad.branch.task,)):
            return LeftOut(bad.branch.task, f"{bad.branch.task} fails by itself: {problem}")
        clash = await self._clash(bad.branch, [step.branch for step in before])
        return LeftOut(
            bad.branch.task,
            f"{bad.branch.task} passes by itself, and fails together with {' and '.join(clash)}: {problem}",
            clash,
        )

    async def _clash(self, bad: Branch, before: list[Branch]) -> tuple[str, ...]:
        """Which of the branches before it fails with it alone; all of them, if no single one does."""
        own = set(await self._paths(bad))
        shared = {branch.task: len(own & set(await self._paths(branch))) for branch in before}
        for branch in sorted(before, key=lambda branch: -shared[branch.task])[:_MAX_PAIRS]:
            both = await merge(self.history.snapshots, branch.commit, bad.commit, self.history.run_id)
            if not both.is_clean or await self._proof(both.tree, (branch.task, bad.task)):
                return (branch.task,)
        return (*self.taken, *(branch.task for branch in before))

    async def _paths(self, branch: Branch) -> list[str]:
        trees = [await self.history.tree(commit) for commit in (self.base, branch.commit)]
        return await self.history.snapshots.changed(trees[0], trees[1])

    def _is_untouched(self, step: _Step) -> bool:
        """Whether the whole is the work of one task, which is proved already."""
        return step.commit == step.branch.commit and step.tasks == (step.branch.task,)

    def _is_left(self, task: str) -> bool:
        return any(left.task == task for left in self.left)
