"""How a file is completed of which there is little more than the names: version after version, until tests pass."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from treadle.agents.coder import Sampling
from treadle.agents.relevance import read_failure
from treadle.agents.unfinished import (
    Unfinished,
    complete_file,
    correct_file,
    find_unfinished,
    flaw_of,
    shown_failure,
    what_is_wanted,
)
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState, spent
from treadle.workflows.escalation import authorship, of_this_tier
from treadle.workflows.tactics import SAME_AGAIN

Update = dict[str, Any]
_CORRECTED = 3
"""Each third try corrects the best version; the others are written afresh, which helps more often and takes less."""


def to_complete(output: str, texts: dict[str, str]) -> Update | None:
    """What a failing check wants to be written, in plain values for the brief; None if it is about finished code."""
    found = find_unfinished(read_failure(output, texts), output, texts)
    return asdict(found) if found else None


async def complete(crew: Crew, state: WorkState, ctx: NodeContext, texts: dict[str, str]) -> Update:
    """Write one more version of the file, or correct the best one. `texts` are those of the best version so far."""
    plain = state["brief"]["unfinished"]
    unfinished = Unfinished(plain["path"], plain["source"], tuple(plain["needed"]), plain["tests"])
    attempt = len(of_this_tier(state))
    sampling = Sampling(attempt, crew.settings.seed, crew.settings.temperature)
    asker, goal = crew.asker(ctx, state), what_is_wanted(state["goal"], texts)
    source = texts.get(unfinished.path, "")
    if attempt % _CORRECTED == _CORRECTED - 1 and source != unfinished.source:
        problem = shown_failure(read_failure(state["brief"]["output"], texts), texts)
        new = await correct_file(
            unfinished, goal, asker, crew.prompts, key="fix", source=source, problem=problem, sampling=sampling
        )
    else:
        new = await complete_file(unfinished, goal, asker, crew.prompts, key="write", sampling=sampling)
    flaw = flaw_of(unfinished, new, texts)
    if new in [candidate["source"] for candidate in state["candidates"]]:
        flaw = flaw or SAME_AGAIN
    made = {"path": unfinished.path, "source": new, "flaw": flaw} | authorship(state, asker.last_model)
    return {"candidates": [*state["candidates"], made], **spent(asker)}
