"""The end of a build: merge what the tasks made, prove the whole, hand it over, and report honestly."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from treadle.agents.ask import Asker
from treadle.agents.conventions import read_conventions
from treadle.agents.merge_plan import Branch, Merged
from treadle.agents.merger import merge_all
from treadle.agents.suite import Suite
from treadle.agents.trial import essence
from treadle.domain.plan import Plan, PlannedTask
from treadle.ports.context import NodeContext
from treadle.workflows.crew import BuildState, Crew
from treadle.workflows.planning import MOST_TRIES, TESTS, WHOLE, agrees, tests_of
from treadle.workflows.readme import readme_of_all
from treadle.workspace import CommitNote, History, replaced

Update = dict[str, Any]
NO_TESTS = 5
"""The exit code of pytest where there is nothing to run."""
_MAX_DIFF = 20_000


class Ending:
    """Nodes over one crew, in the room of the whole."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def merge(self, state: BuildState, ctx: NodeContext) -> Update:
        """Give each task of a wave a commit on a branch of its own, and bring the branches together.

        What cannot be together with the rest is begun once more on top of it.
        """
        fresh = state["outcomes"][state["seen"] :]
        await self.crew.rooms.close(outcome["task"] for outcome in fresh)
        update: Update = {"seen": len(state["outcomes"])}
        failed = [outcome for outcome in fresh if not outcome["ok"]]
        if failed:
            # The report says how to look at what there is: at the attempt, where that is all.
            head = {**state["head"], "tree": failed[0]["tree"]} if len(state["outcomes"]) == 1 else state["head"]
            return update | {"head": head, "verdict": _stop(_told(state, failed))}
        first = self.crew.tiers[0]
        asker = Asker(ctx, first.model, first.model_name, first.pricing)
        merged = await self._merged(state, ctx, fresh, asker)
        taken = [*state["taken"], *merged.merged]
        left = {one.task: one.problem for one in merged.left}
        tries = [outcome["task"] for outcome in state["outcomes"]]
        hopeless = [problem for task, problem in left.items() if tries.count(task) >= MOST_TRIES]
        is_whole = {task["id"] for task in state["plan"]["tasks"]} <= set(taken)
        action = "verify" if is_whole else "go_on"
        head = {"tree": merged.tree, "commit": merged.commit}
        if is_whole and len(state["outcomes"]) > 1:
            head = await self._with_readme(state, History(self.crew.workspace.snapshots, ctx.run_id), head)
        return update | {
            "head": head,
            "taken": taken,
            "left": left,
            "verdict": _stop("\n".join(hopeless)) if hopeless else {"action": action, "problem": ""},
            "tokens": asker.tokens,
            "cost": asker.cost,
            "models": sorted(asker.models),
        }

    async def _merged(self, state: BuildState, ctx: NodeContext, fresh: list[dict[str, Any]], asker: Asker) -> Merged:
        history = History(self.crew.workspace.snapshots, ctx.run_id)
        base = state["head"]["commit"] or await history.begin(state["head"]["tree"])
        tasks = {task.id: task for task in Plan.of(state["plan"]).tasks}
        when = int(await ctx.step("when", time.time, kind="clock"))
        branches = [
            Branch(made["task"], await self._branch(history, base, made, when), *_asked(tasks, made["task"]))
            for made in fresh
        ]

        async def prove(tree: str, done: Sequence[str]) -> str:
            tests = tests_of([made for made in state["outcomes"] if made["task"] in done])
            return (await self._tests(state, tree, tests))["problem"]

        return await merge_all(
            branches, base, history=history, ctx=ctx, prompts=self.crew.prompts, prove=prove, asker=asker,
            seed=self.crew.settings.seed, taken=state["taken"],
        )  # fmt: skip

    async def _with_readme(self, state: BuildState, history: History, head: dict[str, str]) -> dict[str, str]:
        """Several tasks each knew their part; what is new and has no README by then gets one of the whole."""
        snapshots = self.crew.workspace.snapshots
        if await snapshots.files(state["outcomes"][0]["base"]):
            return head
        if any(path.upper().startswith("README") for path in await snapshots.files(head["tree"])):
            return head
        made = [outcome for outcome in state["outcomes"] if outcome["ok"]]
        files = {"README.md": readme_of_all(state["plan"]["goal"], made)}
        tree = await replaced(snapshots, head["tree"], files, history.run_id)
        when = await history.when(head["commit"])
        note = CommitNote(history.run_id, "Add README.md", "What each part is for, and how to use it.", when=when)
        return {"tree": tree, "commit": await history.commit(tree, note, [head["commit"]])}

    async def _branch(self, history: History, base: str, outcome: dict[str, Any], when: int) -> str:
        said = outcome["note"]
        note = CommitNote(history.run_id, said["subject"], said["body"], said["trailers"], when)
        return await history.commit(outcome["tree"], note, [base], branch=outcome["task"])

    async def verify(self, state: BuildState, ctx: NodeContext) -> Update:
        """Prove the whole: all tests, and the user's check. What one task made alone was proved as it is already.

        Tests that failed before the build and fail still do not count. A whole that fails though its parts passed is
        given to one more task.
        """
        outcomes, tree = state["outcomes"], state["head"]["tree"]
        if len(outcomes) == 1 and outcomes[0]["tree"] == tree:
            return {"verdict": {"action": "commit", "problem": ""}}
        request = {"tool": "run_command", "command": TESTS, "tree": tree}
        found = await ctx.step("tests", lambda: self._tests(state, tree), kind="tool", request=request)
        command = state.get("given", "")
        if command and not found["problem"]:
            request = {"tool": "run_command", "command": command, "tree": tree}
            problem = await ctx.step("check", lambda: self._run(tree, command), kind="tool", request=request)
            found = {"problem": problem, "command": command}
        if not found["problem"]:
            return {"verdict": {"action": "commit", "problem": ""}}
        tried = any(outcome["task"] == WHOLE for outcome in outcomes)
        ctx.log(f"The whole fails: {found['problem']}")
        return {"verdict": {"action": "stop" if tried else "repair", **found}}

    async def _tests(self, state: BuildState, tree: str, paths: Sequence[str] = ()) -> dict[str, str]:
        """Run tests on a tree: what fails there that did not fail before the build, and the command that shows it."""
        command = shlex.join([*TESTS.split(), *paths])
        problem, base = await self._run(tree, command), state["outcomes"][0]["base"]
        if not problem or not await self.crew.workspace.snapshots.files(base):
            return {"problem": problem, "command": command}
        before, now = await self._suite(base), await self._suite(tree)
        worse = now.worse_than(before)
        if now.broken or not worse:
            return {"problem": problem if now.broken else "", "command": command}
        id_, said = next(iter(worse.items()))
        command = shlex.join([*TESTS.split(), *(one for one in worse if "::" in one or one.endswith(".py"))])
        return {"problem": f"{id_}: {said}", "command": command}

    async def _suite(self, tree: str) -> Suite:
        """Run all tests of a tree, as the repository has them run."""
        conventions = read_conventions(await self.crew.workspace.snapshots.texts(tree))
        await self.crew.workspace.restore(tree)
        return await self.crew.run_suite(python_path=conventions.python_path)

    async def _run(self, tree: str, command: str) -> str:
        """Run a command on a tree; tells what fails, in short."""
        await self.crew.workspace.restore(tree)
        done = await self.crew.run_command(command)
        if done["ok"] or (command.startswith(TESTS) and done["exit_code"] == NO_TESTS):
            return ""
        return essence(done["output"]) or f"Exit code {done['exit_code']}."

    async def commit(self, state: BuildState, ctx: NodeContext) -> Update:
        """Hand the proved commits over and report; ask first, if the user wants to agree to it."""
        if "merge" in state.get("approve", []):
            base = state["outcomes"][0]["base"]
            diff = await self.crew.workspace.snapshots.diff(base, state["head"]["tree"])
            answer = ctx.interrupt({"approve": "merge", "files": _files(state), "diff": diff[:_MAX_DIFF]})
            if not agrees(answer):
                problem = f"The result was not approved: {answer}"
                return {"report": report(state, self.crew, solved=False) | {"reason": problem}}
        request = {"tool": "publish", "tree": state["head"]["tree"], "run": ctx.run_id}
        tip = state["head"]["commit"]
        published = await ctx.step("publish", lambda: self._publish(tip, ctx.run_id), kind="tool", request=request)
        return {"report": report(state, self.crew, solved=True) | published}

    async def give_up(self, state: BuildState, ctx: NodeContext) -> Update:
        """Report why there is no result; the best attempt stays among the snapshots."""
        return {"report": report(state, self.crew, solved=False)}

    async def _publish(self, tip: str, run_id: str) -> dict[str, str]:
        return asdict(await self.crew.publisher.publish(tip, run_id))


def report(state: BuildState, crew: Crew, *, solved: bool) -> Update:
    """What a build says in the end."""
    outcomes, store, tree = state["outcomes"], crew.workspace.snapshots.git_dir, state["head"]["tree"]
    return {
        "solved": solved,
        "reason": "" if solved else state["verdict"]["problem"],
        "rounds": sum(outcome["rounds"] for outcome in outcomes),
        "tokens": state.get("tokens", 0),
        "cost": round(state.get("cost", 0.0), 6),
        "model": ", ".join(state.get("models", [])) or crew.tiers[0].model_name,
        "versions": _all(outcomes, "versions"),
        "check": state.get("check") or "",
        "tree": tree,
        "see": f"mkdir attempt && git --git-dir {store} archive {tree} | tar -x -C attempt",
        "files": _files(state),
        "tests": sum(outcome["tests"] for outcome in outcomes),
        "dropped": _all(outcomes, "dropped"),
        "coverage": {made["files"][0]: made["coverage"] for made in outcomes if made.get("coverage") is not None},
        "assumptions": [*state["plan"]["assumptions"], *_all(outcomes, "assumptions")],
        "tasks": [_line(task, outcomes) for task in Plan.of(state["plan"]).tasks],
    }


def _line(task: PlannedTask, outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """One task in the report: what was planned, and what became of it."""
    made = next((outcome for outcome in reversed(outcomes) if outcome["task"] == task.id), None)
    kept = ("ok", "reason", "rounds", "tests", "tokens", "cost", "tier", "files", "review")
    planned = {"id": task.id, "title": task.title, "kind": task.kind, "complexity": task.complexity, "began": task.tier}
    return planned | ({key: made[key] for key in kept} if made else {})


def _files(state: BuildState) -> list[str]:
    return list(dict.fromkeys(_all(state["outcomes"], "files")))


def _asked(tasks: Mapping[str, PlannedTask], id: str) -> tuple[str, tuple[str, ...]]:
    """What a task was to do, and what it builds on."""
    task = tasks.get(id)
    return (task.title, task.needs) if task else ("Make the whole pass its tests", tuple(tasks))


def _all(outcomes: Iterable[dict[str, Any]], key: str) -> list[Any]:
    return [item for outcome in outcomes for item in outcome[key]]


def _stop(problem: str) -> Update:
    return {"action": "stop", "problem": problem}


def _told(state: BuildState, failed: list[dict[str, Any]]) -> str:
    """Why tasks were not solved; whose fault it was is said where there are several."""
    if len(state["plan"]["tasks"]) == 1:
        return str(failed[0]["reason"])
    return "\n".join(f"Task {outcome['task']}: {outcome['reason']}" for outcome in failed)
