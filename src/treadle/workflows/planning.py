"""The nodes that begin a build: what is there, what the goal means, which tasks meet it, and who agrees to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from treadle.agents.specialists import maker_of
from treadle.domain.plan import Analysis, Plan, PlannedTask, check_tasks
from treadle.errors import ConfigError
from treadle.graph.spec import Send
from treadle.ports.context import NodeContext
from treadle.workflows.crew import BuildState, Crew
from treadle.workflows.decompose import Planner, Planning

Update = dict[str, Any]
_YES = (True, "yes", "y", "ok", "approve", "approved", "true")
_GO_ON = ("", "assume", "go on", None, True, False)
"""Answers to questions by which nothing is said: the build decides by itself."""
WHOLE = "whole"
"""The id of the task that mends a whole whose parts passed."""
TESTS = "python -m pytest -q -p no:cacheprovider"
_TESTS_FAILED = 1
"""The exit code of pytest where tests ran, and some failed."""
MOST_TRIES = 2
"""Times that a task is begun: once more on top of the others' work, where it could not be merged with it."""


class Opening:
    """Nodes over one crew."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def open(self, state: BuildState, ctx: NodeContext) -> Update:
        """Take what is there as it was when the build was started."""
        tree = await ctx.step("base", self.crew.publisher.base_tree, kind="tool", request={"base": True})
        given = state.get("check", "")
        return {"head": {"tree": tree, "commit": ""}, "taken": [], "seen": 0, "left": {}, "given": given}

    async def analyse(self, state: BuildState, ctx: NodeContext) -> Update:
        """Say what the goal means."""
        return await Planning(await self._planner(state)).analyse(state, ctx)

    async def ask(self, state: BuildState, ctx: NodeContext) -> Update:
        """Ask what no assumption would do for. Whoever does not answer has it decided.

        A repository whose tests fail needs no question: what is wrong with it is plain.
        """
        analysis = Analysis.of(state["analysis"])
        if analysis.kind == "change" and await self._tests_fail(state, ctx):
            told = (*analysis.assumptions, "the tests that fail are what is wrong")
            return {"analysis": replace(analysis, questions=(), assumptions=told).plain()}
        answer = ctx.interrupt({"questions": list(analysis.questions), "goal": analysis.goal})
        said = "" if answer in _GO_ON else str(answer).strip()
        if said:
            return {"goal": f"{analysis.goal}\n\n{said}", "analysis": {}}
        open_points = tuple(f"not answered: {question}" for question in analysis.questions)
        settled = replace(analysis, questions=(), assumptions=(*analysis.assumptions, *open_points))
        return {"analysis": settled.plain()}

    async def decompose(self, state: BuildState, ctx: NodeContext) -> Update:
        """Take the goal apart into tasks; a plan that was given is kept."""
        return await Planning(await self._planner(state)).decompose(state, ctx)

    async def estimate(self, state: BuildState, ctx: NodeContext) -> Update:
        """Say how hard each task is, where it begins, and what it will take."""
        return await Planning(await self._planner(state)).estimate(state, ctx)

    async def approve(self, state: BuildState, ctx: NodeContext) -> Update:
        """Have the user agree to the plan. The answer may be another plan; one that cannot be used is asked again."""
        plan, problem = state["plan"], ""
        while True:
            answer = ctx.interrupt({"approve": "plan", "plan": plan, "problem": problem})
            if isinstance(answer, Mapping) and "tasks" in answer:
                try:
                    changed = Plan.of({**plan, **answer})
                    check_tasks(changed.tasks)
                except (ConfigError, msgspec.ValidationError) as error:
                    problem = str(error)
                    continue
                return {"plan": changed.plain(), "verdict": {"action": "go_on", "problem": ""}}
            if agrees(answer):
                return {"verdict": {"action": "go_on", "problem": ""}}
            return {"verdict": {"action": "stop", "problem": f"The plan was not approved: {answer}"}}

    async def _tests_fail(self, state: BuildState, ctx: NodeContext) -> bool:
        tree = state["head"]["tree"]

        async def run() -> dict[str, Any]:
            await self.crew.workspace.restore(tree)
            return await self.crew.run_command(TESTS)

        request = {"tool": "run_command", "command": TESTS, "tree": tree}
        done = await ctx.step("tests", run, kind="tool", request=request)
        return bool(done["exit_code"] == _TESTS_FAILED)

    async def _planner(self, state: BuildState) -> Planner:
        files = await self.crew.workspace.snapshots.files(state["head"]["tree"])
        first, settings = self.crew.tiers[0], self.crew.settings
        return Planner(first, self.crew.prompts, self.crew.choice, tuple(files), settings.seed)


def agrees(answer: Any) -> bool:
    """Whether an answer means yes."""
    return (answer.strip().lower() if isinstance(answer, str) else answer) in _YES


def after_analysis(state: BuildState) -> str:
    """Ask first, if something has to be asked."""
    return "ask" if not state.get("plan") and state["analysis"].get("questions") else "decompose"


def after_answer(state: BuildState) -> str:
    """A goal that has become longer is read again."""
    return "decompose" if state["analysis"] else "analyse"


def after_estimate(state: BuildState) -> str | list[Send]:
    """Begin, or ask for agreement first."""
    return "approve" if "plan" in state.get("approve", []) else free_tasks(state)


def after_approval(state: BuildState) -> str | list[Send]:
    """Begin, or end without having begun."""
    return "give_up" if state["verdict"]["action"] == "stop" else free_tasks(state)


def free_tasks(state: BuildState) -> list[Send]:
    """The tasks whose needs are merged, each with what it starts from; empty if none is left."""
    plan, taken = Plan.of(state["plan"]), set(state["taken"])
    return [_send(state, plan, task) for task in plan.tasks if task.id not in taken and taken.issuperset(task.needs)]


def repair_task(state: BuildState) -> Send:
    """A task of its own that makes the merged whole pass what it fails."""
    plan, command = Plan.of(state["plan"]), state["verdict"]["command"]
    task = PlannedTask(WHOLE, f"Make the whole pass: {command}", "change", needs=tuple(t.id for t in plan.tasks))
    sent = _send(state, plan, task)
    return replace(sent, data={**sent.data, "check": command})


def _send(state: BuildState, plan: Plan, task: PlannedTask) -> Send:
    alone = len(plan.tasks) == 1 and task in plan.tasks
    before = state["left"].get(task.id, "")
    return Send(
        "change" if task.kind == "change" else "special" if maker_of(task) else "code",
        {
            "goal": plan.told if alone else task_goal(task, before),
            "task": msgspec.to_builtins(task),
            "alone": alone,
            "check": state.get("check", "") if alone else "",
            "base": state["head"]["tree"],
        },
    )


def task_goal(task: PlannedTask, before: str = "") -> str:
    """A task of several in words, for whoever works on it. `before`: why an earlier try could not be merged."""
    told = str(task.brief.get("goal") or task.title)
    missing = [criterion for criterion in task.done if criterion not in told]
    notes = [f"An earlier try did not work with the rest: {before}"] if before else []
    return "\n".join([told, *(f"- {criterion}" for criterion in missing), *notes])


def tests_of(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The test files that tasks left."""
    names = [path for outcome in outcomes for path in outcome["files"]]
    return sorted({path for path in names if path.rpartition("/")[2].startswith("test_") and path.endswith(".py")})
