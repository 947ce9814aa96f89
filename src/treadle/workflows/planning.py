"""The nodes that turn a goal into tasks, and send those that are free to work."""

from __future__ import annotations

from typing import Any

from treadle.agents.goal import read_goal
from treadle.domain.plan import Plan, PlannedTask, TaskKind, check_tasks
from treadle.graph.spec import Send
from treadle.ports.context import NodeContext
from treadle.workflows.crew import BuildState, Crew
from treadle.workspace import RepositoryBranch

Update = dict[str, Any]


class Planning:
    """Nodes over one crew."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew

    async def plan(self, state: BuildState, ctx: NodeContext) -> Update:
        """Take the goal apart into tasks; one task where more would only cost more. A plan that was given is kept."""
        tree = await ctx.step("base", self.crew.publisher.base_tree, kind="tool", request={"base": True})
        plan = (
            Plan.of(state["plan"])
            if state.get("plan")
            else _one_task(state["goal"], is_change=isinstance(self.crew.publisher, RepositoryBranch))
        )
        check_tasks(plan.tasks)
        for task in plan.tasks:
            after = f", after {', '.join(task.needs)}" if task.needs else ""
            ctx.log(f"{task.id}: {task.title}{after}")
        return {"plan": plan.plain(), "head": {"tree": tree, "commit": ""}, "taken": []}


def _one_task(goal: str, *, is_change: bool) -> Plan:
    kind: TaskKind = "change" if is_change else "program" if read_goal(goal).is_program else "module"
    return Plan(goal, tasks=(PlannedTask("t1", goal, kind),))


def free_tasks(state: BuildState) -> list[Send]:
    """The tasks whose needs are merged, each with what it starts from; empty if none is left or can be begun."""
    plan, done = Plan.of(state["plan"]), {outcome["task"] for outcome in state.get("outcomes", [])}
    taken, alone = set(state["taken"]), len(plan.tasks) == 1
    return [
        Send(
            "change" if task.kind == "change" else "code",
            {
                "goal": plan.goal if alone else task_goal(task),
                "task": Plan(plan.goal, tasks=(task,)).plain()["tasks"][0],
                "alone": alone,
                "check": state.get("check", "") if alone else "",
                "base": state["head"]["tree"],
            },
        )
        for task in plan.tasks
        if task.id not in done and taken.issuperset(task.needs)
    ]


def task_goal(task: PlannedTask) -> str:
    """A task in words, for whoever works on it."""
    lines = [task.title.rstrip(".") + "."] if task.done else [task.title]
    return "\n".join([*lines, *(f"- {criterion}" for criterion in task.done)])
