"""A build whose checks keep failing climbs to its next tier, and says why. Within a tier it has all its rounds anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState

Update = dict[str, Any]


def climb(crew: Crew, state: WorkState, ctx: NodeContext, problem: str) -> Update:
    """Move to the next tier; empty if there is none. What made it necessary is logged with the move."""
    at = state.get("tier", 0)
    if at + 1 >= len(crew.tiers):
        return {}
    below, above, repairs = crew.tiers[at], crew.tiers[at + 1], rounds_in_tier(state)
    ctx.log(
        f"Escalated from tier {below.name} to tier {above.name}, because checks fail after {repairs} "
        f"repair{'' if repairs == 1 else 's'}.",
        model=above.model_name,
        instead_of=below.model_name,
        problem=problem,
    )
    moved: Update = {"tier": at + 1, "tier_began": state["round"] + 1}
    # Who has the model of one tier need not have that of another.
    return moved | ({"work_queue": above.queue} if state.get("queue") else {})


def rounds_in_tier(state: WorkState) -> int:
    """Repairs since the present tier took over."""
    return state["round"] - state.get("tier_began", 0)


def of_this_tier(state: WorkState) -> list[dict[str, Any]]:
    """The versions of the code that the present tier has made."""
    return [candidate for candidate in state["candidates"] if candidate["tier"] == state.get("tier", 0)]


def authorship(state: WorkState, model: str) -> Update:
    """What is kept with a version of the code: when it was made, and by whom."""
    return {"round": state.get("round", 0), "tier": state.get("tier", 0), "model": model}


def versions(crew: Crew, candidates: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Which model wrote in which round, for the report."""
    return [
        {"round": made["round"], "tier": crew.tiers[made["tier"]].name, "model": made["model"]} for made in candidates
    ]
