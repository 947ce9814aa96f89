"""The end of a build: merge what the tasks made, prove the whole, hand it over, and report honestly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from treadle.agents.trial import essence
from treadle.domain.plan import Plan
from treadle.ports.context import NodeContext
from treadle.workflows.crew import BuildState, Crew
from treadle.workspace import CommitNote, History

Update = dict[str, Any]
TESTS = "python -m pytest -q -p no:cacheprovider"


class Ending:
    """Nodes over one crew, in the room of the whole."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def merge(self, state: BuildState, ctx: NodeContext) -> Update:
        """Give each task of a wave a commit on a branch of its own, and bring the branches together."""
        fresh = [outcome for outcome in state["outcomes"] if outcome["task"] not in state["taken"]]
        await self.crew.rooms.close(outcome["task"] for outcome in fresh)
        failed = [outcome for outcome in fresh if not outcome["ok"]]
        if failed:
            # The report says how to look at what there is: at the attempt, where that is all.
            head = {**state["head"], "tree": failed[0]["tree"]} if len(state["outcomes"]) == 1 else state["head"]
            return {"head": head, "verdict": _stop(_told(state, failed))}
        history = History(self.crew.workspace.snapshots, ctx.run_id)
        base = state["head"]["commit"] or await history.begin(state["head"]["tree"])
        tips = [await self._branch(history, base, outcome) for outcome in fresh]
        head = {"commit": tips[0], "tree": await history.tree(tips[0])}
        taken = [*state["taken"], *(outcome["task"] for outcome in fresh)]
        left = [task.id for task in Plan.of(state["plan"]).tasks if task.id not in taken]
        return {"head": head, "taken": taken, "verdict": {"action": "go_on" if left else "verify", "problem": ""}}

    async def _branch(self, history: History, base: str, outcome: dict[str, Any]) -> str:
        said = outcome["note"]
        note = CommitNote(history.run_id, said["subject"], said["body"], said["trailers"])
        return await history.commit(outcome["tree"], note, [base], branch=outcome["task"])

    async def verify(self, state: BuildState, ctx: NodeContext) -> Update:
        """Prove the whole: all tests, and the user's check. What one task made alone was proved as it is already."""
        outcomes = state["outcomes"]
        if len(outcomes) == 1 and outcomes[0]["tree"] == state["head"]["tree"]:
            return {"verdict": {"action": "commit", "problem": ""}}
        tree, problem = state["head"]["tree"], ""
        for key, command in (("tests", TESTS), ("check", state.get("check", ""))):
            problem = problem or (await self._fails(ctx, key, tree, command) if command else "")
        return {"verdict": {"action": "stop" if problem else "commit", "problem": problem}}

    async def _fails(self, ctx: NodeContext, key: str, tree: str, command: str) -> str:
        async def run() -> dict[str, Any]:
            await self.crew.workspace.restore(tree)
            return await self.crew.run_command(command)

        request = {"tool": "run_command", "command": command, "tree": tree}
        done: dict[str, Any] = await ctx.step(key, run, kind="tool", request=request)
        return "" if done["ok"] else essence(done["output"]) or f"Exit code {done['exit_code']}."

    async def commit(self, state: BuildState, ctx: NodeContext) -> Update:
        """Hand the proved tree over and report."""
        request = {"tool": "publish", "tree": state["head"]["tree"], "run": ctx.run_id}
        tip = state["head"]["commit"]
        published = await ctx.step("publish", lambda: self._publish(tip, ctx.run_id), kind="tool", request=request)
        return {"report": report(state, self.crew, solved=True) | published}

    async def give_up(self, state: BuildState, ctx: NodeContext) -> Update:
        """Report why there is no result; the best attempt stays among the snapshots."""
        return {"report": report(state, self.crew, solved=False)}

    async def _publish(self, tip: str, run_id: str) -> dict[str, str]:
        return asdict(await self.crew.publisher.publish(tip, run_id))


def next_step(state: BuildState) -> str:
    """Go where the last node decided to go."""
    return str(state["verdict"]["action"])


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
        "files": list(dict.fromkeys(_all(outcomes, "files"))),
        "tests": sum(outcome["tests"] for outcome in outcomes),
        "dropped": _all(outcomes, "dropped"),
        "assumptions": [*state["plan"]["assumptions"], *_all(outcomes, "assumptions")],
        "tasks": [_line(task, outcomes) for task in Plan.of(state["plan"]).tasks],
    }


def _line(task: Any, outcomes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One task in the report: what was planned, and what became of it."""
    made = next((outcome for outcome in outcomes if outcome["task"] == task.id), None)
    kept = ("ok", "reason", "rounds", "tests", "tokens", "cost", "tier", "files", "review")
    return {"id": task.id, "title": task.title, "kind": task.kind} | ({key: made[key] for key in kept} if made else {})


def _all(outcomes: Iterable[dict[str, Any]], key: str) -> list[Any]:
    return [item for outcome in outcomes for item in outcome[key]]


def _stop(problem: str) -> Update:
    return {"action": "stop", "problem": problem}


def _told(state: BuildState, failed: list[dict[str, Any]]) -> str:
    """Why tasks were not solved; whose fault it was is said where there are several."""
    if len(state["plan"]["tasks"]) == 1:
        return str(failed[0]["reason"])
    return "\n".join(f"Task {outcome['task']}: {outcome['reason']}" for outcome in failed)
