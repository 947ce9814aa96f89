"""The decompose graph: a goal becomes a plan of tasks. Usable alone, and the first nodes of a build.

    state = await orchestrator.execute(decompose_graph(planner), {"goal": "...", "check": ""})
    plan = Plan.of(state["plan"])

A state that has a plan already keeps its tasks; only what they will take is worked out anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from treadle.agents.ask import Asker
from treadle.agents.coordinator import Coordinator
from treadle.agents.decomposer import Decomposer
from treadle.agents.estimator import ComplexityEstimator, TierChoice
from treadle.agents.prompt import Prompts
from treadle.domain.plan import Analysis, Plan, check_tasks
from treadle.graph.build import Graph
from treadle.ports.context import NodeContext
from treadle.workflows.crew import CrewTier, add

Update = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Planner:
    """Who plans, and what it knows."""

    tier: CrewTier
    """Whose model is asked where rules are unsure."""
    prompts: Prompts = field(default_factory=Prompts.load)
    choice: TierChoice = field(default_factory=TierChoice)
    """The tiers that tasks may begin in, what they cost, and what past tasks took."""
    files: tuple[str, ...] = ()
    """What is in the repository that is to be changed; empty: something new is wanted."""
    seed: int = 0


class PlanState(TypedDict, total=False):
    """What planning knows, in plain values. Start it with `goal`, perhaps `check`, or with a `plan`."""

    goal: str
    check: str
    analysis: dict[str, Any]
    """`domain.plan.Analysis`."""
    plan: dict[str, Any]
    """`domain.plan.Plan`."""
    tokens: Annotated[int, add]
    cost: Annotated[float, add]
    models: list[str]


class Planning:
    """Nodes over one planner. A build calls them with a state of its own that has the same keys."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner

    async def analyse(self, state: Any, ctx: NodeContext) -> Update:
        """Say what the goal means; tell what is assumed, and what would have to be asked."""
        if state.get("plan"):
            return {}
        asker = self._asker(ctx)
        coordinator = Coordinator(asker, self.planner.prompts)
        analysis = await coordinator.analyze_task(
            state["goal"], check=state.get("check", ""), files=self.planner.files, seed=self.planner.seed
        )
        for assumption in analysis.assumptions:
            ctx.log(f"Assumed: {assumption.rstrip('.')}.")
        for question in analysis.questions:
            ctx.log(f"To be asked: {question}")
        return {"analysis": analysis.plain(), **_spent(state, asker)}

    async def decompose(self, state: Any, ctx: NodeContext) -> Update:
        """Take the goal apart into tasks; a plan that was given is checked, and kept.

        Raises:
            ConfigError: The given plan can never be carried out.
        """
        if state.get("plan"):
            check_tasks(Plan.of(state["plan"]).tasks)
            return {}
        asker = self._asker(ctx)
        analysis = Analysis.of(state["analysis"])
        plan = await Decomposer(asker, self.planner.prompts).decompose(analysis, seed=self.planner.seed)
        return {"plan": plan.plain(), **_spent(state, asker)}

    async def estimate(self, state: Any, ctx: NodeContext) -> Update:
        """Say how hard each task is, where it begins, and what it will take."""
        asker = self._asker(ctx)
        estimator = ComplexityEstimator(asker, self.planner.prompts, self.planner.choice)
        plan = await estimator.estimate(Plan.of(state["plan"]), seed=self.planner.seed)
        for task in plan.tasks:
            after = f", after {', '.join(task.needs)}" if task.needs else ""
            ctx.log(f"{task.id}: {task.title} ({task.complexity}: {task.why}){after}")
        return {"plan": plan.plain(), **_spent(state, asker)}

    def _asker(self, ctx: NodeContext) -> Asker:
        tier = self.planner.tier
        return Asker(ctx, tier.model, tier.model_name, tier.pricing, on_delta=getattr(ctx, "emit_token", None))


def decompose_graph(planner: Planner) -> Graph:
    """Return the graph from a goal to its tasks: analyse, decompose, estimate."""
    graph = Graph("decompose", "Goal to a plan of tasks.", state=PlanState)
    for name in ("analyse", "decompose", "estimate"):
        graph.add_node(name, _node(planner, name))
    graph.set_entry_point("analyse")
    graph.add_edge("analyse", "decompose").add_edge("decompose", "estimate")
    return graph.set_finish_point("estimate")


def _node(planner: Planner, name: str) -> Callable[..., Awaitable[Any]]:
    async def node(state: PlanState, ctx: NodeContext) -> Any:
        return await getattr(Planning(planner), name)(state, ctx)

    return node


def _spent(state: Any, asker: Asker) -> Update:
    return {"tokens": asker.tokens, "cost": asker.cost, "models": sorted({*state.get("models", []), *asker.models})}
