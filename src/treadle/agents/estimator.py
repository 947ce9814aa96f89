"""The estimator: how hard tasks are, where they begin, and what they will take.

    plan = await ComplexityEstimator(asker, prompts, tiers=("tiny", "small"), experience=past).estimate(plan)

Rules first. A model is asked, once for all of them, about the tasks of a larger plan of which rules know too little.
What past runs took (`domain/experience.py`) corrects the numbers and the tier.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from treadle.agents.ask import Asker, Question
from treadle.agents.goal import read_goal
from treadle.agents.prompt import Prompts
from treadle.domain.experience import Experience
from treadle.domain.inventory import TIERS, Complexity, Routing, Tier
from treadle.domain.messages import Usage
from treadle.domain.plan import Estimate, Plan, PlannedTask, TaskKind
from treadle.ports.model import Pricing, free

_LEVELS: tuple[Complexity, ...] = get_args(Complexity)
_POINTS: dict[TaskKind, int] = {"document": 0, "module": 1, "program": 2, "page": 2, "change": 2, "service": 3}
_HARD = re.compile(
    r"\b(?:concurren\w*|thread-?safe\w*|multi-?thread\w*|async\w*|parsers?|compilers?|interpreters?|grammars?|"
    r"tokeni[sz]er|protocols?|cryptograph\w*|encrypt\w*|schedul(?:er|ing)|distributed|transactions?|backtracking|"
    r"dynamic programming|shortest path|optimi[sz]\w*|real-?time|state machine|recursive descent|undo|web-?sockets?|"
    r"authenticat\w*|oauth|diff(?:ing)? algorithm|regular expression engine|solver|simulat\w*|evict\w*)\b",
    re.IGNORECASE,
)
_CLASS = re.compile(r"\bclass(?:es)?\b")
_LONG, _VERY_LONG = 120, 250
_INPUT_SHARE = 0.7
"""Of the tokens of a task, those that are read: prompts are longer than answers."""


@dataclass(frozen=True, slots=True)
class Rated:
    """How hard a task is by rules."""

    complexity: Complexity
    why: str
    is_sure: bool = True


@dataclass(frozen=True, slots=True)
class TierChoice:
    """The tiers that a build may use, and what decides between them."""

    tiers: Sequence[str] = ()
    """Names from the cheapest to the dearest; empty: there is one model, and nothing to choose."""
    routing: Routing = field(default_factory=Routing)
    pricing: Mapping[str, Pricing | None] = field(default_factory=dict)
    """By tier; None: not known. A tier that is left out is free."""
    experience: Experience = field(default_factory=Experience)


class ComplexityEstimator:
    """Says of each task how hard it is, which tier it begins in, and what it will take."""

    def __init__(self, asker: Asker, prompts: Prompts, choice: TierChoice | None = None) -> None:
        self._asker = asker
        self._prompts = prompts
        self._choice = choice or TierChoice()

    async def estimate(self, plan: Plan, *, seed: int = 0) -> Plan:
        """Rate every task. What a task says already (a complexity with its reason, a tier) is kept.

        The model call, if there is one, is recorded under `estimate`.

        Raises:
            BudgetExceeded, ModelUnavailable, ModelError: See `Asker.ask`.
        """
        rated = {task.id: rate(task) for task in plan.tasks}
        unsure = [task for task in plan.tasks if not rated[task.id].is_sure and not task.why]
        if unsure and len(plan.tasks) > 1:
            rated |= await self._asked(plan, unsure, seed)
        return replace(plan, tasks=tuple(self._with(task, rated[task.id]) for task in plan.tasks))

    async def _asked(self, plan: Plan, tasks: Sequence[PlannedTask], seed: int) -> dict[str, Rated]:
        prompt = self._prompts["estimate"]
        listed = "\n".join(f"{task.id}: {task.title} ({task.kind})" for task in tasks)
        text = prompt.render(goal=plan.intent or plan.told, tasks=listed)
        schema = dict(prompt.output or {})
        answer = await self._asker.ask_json(
            "estimate", Question(text, 60 + 60 * len(tasks), seed=seed, json_schema=schema)
        )
        rated = answer.get("tasks") if isinstance(answer, dict) else None
        found: dict[str, Rated] = {}
        for item in rated if isinstance(rated, list) else []:
            if isinstance(item, dict) and item.get("complexity") in _LEVELS:
                why = textwrap.shorten(str(item.get("why", "")), 60, placeholder=" …") or "the model says so"
                found[str(item.get("id"))] = Rated(item["complexity"], why)
        return {task.id: found[task.id] for task in tasks if task.id in found}

    def _with(self, task: PlannedTask, rated: Rated) -> PlannedTask:
        complexity, why = (task.complexity, task.why) if task.why else (rated.complexity, rated.why)
        tier, moved = task.tier, ""
        if not tier and self._choice.tiers:
            planned = first_tier(complexity, self._choice.tiers, self._choice.routing, task.specialist)
            past = self._choice.experience
            tier, moved = past.first_tier(task.kind, complexity, self._choice.tiers, planned)
        why = f"{why}; {moved}" if moved else why
        estimate = self._estimated(task.kind, complexity, tier)
        return replace(task, complexity=complexity, why=why, tier=tier, estimate=estimate)

    def _estimated(self, kind: TaskKind, complexity: Complexity, tier: str) -> Estimate:
        found = self._choice.experience.estimate(kind, complexity, tier)
        pricing = self._choice.pricing.get(tier, free)
        if found.cost or pricing is free:
            return found
        read = round(found.tokens * _INPUT_SHARE)
        cost = pricing(Usage(read, found.tokens - read), found.seconds) if pricing is not None else None
        return replace(found, cost=None if cost is None else round(cost, 6))


def rate(task: PlannedTask) -> Rated:
    """Rate a task by rules: what it is, how much is said of it, and words that smell of hard work. Deterministic."""
    text = str(task.brief.get("goal") or "\n".join([task.title, *task.done]))
    reading, words = read_goal(text), len(text.split())
    points, reasons = _POINTS[task.kind], [str(task.kind)]
    hard = sorted({match.lower() for match in _HARD.findall(text)})
    if hard:
        points += min(2 * len(hard), 4)
        reasons.append(", ".join(hard[:3]))
    functions = len(reading.functions)
    if functions > 3 or _CLASS.search(text):
        points += 1
        reasons.append(f"{functions} functions" if functions > 3 else "a class")
    if words > _LONG:
        points += 2 if words > _VERY_LONG else 1
        reasons.append(f"{words} words")
    if len([name for name in task.files if not name.rpartition("/")[2].startswith("test_")]) > 3:
        points += 1
        reasons.append("many files")
    if reading.examples or reading.skeleton or functions == 1:
        points -= 1
        reasons.append("examples" if reading.examples else "one function")
    complexity: Complexity = "simple" if points <= 1 else "medium" if points <= 3 else "complex"
    said_enough = bool(hard or functions or reading.examples or words >= 15 or task.kind in ("document", "change"))
    return Rated(complexity, ", ".join(reasons), said_enough)


def first_tier(complexity: Complexity, tiers: Sequence[str], routing: Routing, agent: str = "") -> str:
    """The tier that routing sends a task to, or, where the build does not have it, the next one up, else the last."""
    wanted: Tier = routing.agents.get(agent) or routing.complexity[complexity]
    order = [name for name in TIERS if name in tiers]
    above = [name for name in order if TIERS.index(name) >= TIERS.index(wanted)]
    return str(above[0]) if above else str(order[-1]) if order else ""
