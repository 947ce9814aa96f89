"""What past work took, and what that says of work to come. Pure: recorded outcomes go in, estimates come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from treadle.domain.inventory import Complexity
from treadle.domain.plan import Estimate, TaskKind

_ENOUGH = 3
"""Outcomes from which on the past alone decides; with fewer, defaults count for those that are missing."""
_ENOUGH_TO_MOVE = 5
"""Outcomes that it takes to begin in another tier than routing says."""
_HOPELESS = 0.3
_GOOD = 0.8
_PER_SECOND = 20.0
"""Tokens: qwen2.5-coder:1.5b on two processor cores, medians of bench/results/goals-*.jsonl."""
_TOKENS: dict[TaskKind, tuple[int, int, int]] = {
    "module": (650, 1_800, 4_000),
    "program": (1_500, 2_800, 6_600),
    "change": (1_600, 2_700, 6_000),
    "service": (2_500, 4_500, 9_000),
    "page": (1_200, 2_500, 6_000),
    "document": (800, 1_500, 3_000),
}
"""For simple, medium and complex tasks, reviews and all. Modules, programs and changes: medians and upper quartiles of
bench/results/*.jsonl; the others were not measured yet, and are thought of as larger or smaller programs."""
_LEVELS: tuple[Complexity, ...] = ("simple", "medium", "complex")


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """What became of one task of a past run."""

    kind: TaskKind
    complexity: Complexity
    tier: str
    """In which it ended; empty: there were no tiers."""
    solved: bool
    tokens: int
    seconds: float
    cost: float | None = 0.0
    """USD; None: not known."""
    began: str = ""
    """The tier that it began in; empty: the one it ended in."""


@dataclass(frozen=True, slots=True)
class Experience:
    """Outcomes of past runs, the newest last."""

    outcomes: tuple[TaskOutcome, ...] = ()

    def estimate(self, kind: TaskKind, complexity: Complexity, tier: str = "") -> Estimate:
        """What a task is likely to take: the median of those like it, or defaults where there were none.

        Tasks of the same kind and complexity count, in the same tier if there were any. The cost is that of the past;
        0 where there is no past.
        """
        alike = [o for o in self.outcomes if (o.kind, o.complexity) == (kind, complexity)]
        alike = [o for o in alike if o.tier == tier] or alike
        tokens = _TOKENS[kind][_LEVELS.index(complexity)]
        usual = _mixed([o.tokens for o in alike], tokens)
        seconds = _mixed([o.seconds for o in alike], usual / self.tokens_per_second(tier))
        costs = [o.cost for o in alike if o.cost is not None]
        cost = None if alike and not costs else round(median(costs), 6) if costs else 0.0
        return Estimate(round(usual), round(seconds, 1), cost)

    def tokens_per_second(self, tier: str = "") -> float:
        """How fast tasks of a tier went here, everything included."""
        rates = [o.tokens / o.seconds for o in self.outcomes if o.tier == tier and o.seconds > 0 and o.tokens]
        return _mixed(rates, _PER_SECOND)

    def first_tier(self, kind: TaskKind, complexity: Complexity, tiers: Sequence[str], planned: str) -> tuple[str, str]:
        """Where a task had best begin, and why if it is not where it was planned.

        It begins higher where tasks like it hardly ever ended well from the planned tier, and one tier lower where they
        nearly always did there. It takes several outcomes to move it.
        """
        if planned not in tiers:
            return planned, ""
        at = list(tiers).index(planned)
        rate, count = self._rate(kind, complexity, planned)
        if count >= _ENOUGH_TO_MOVE and rate < _HOPELESS and at + 1 < len(tiers):
            return tiers[at + 1], f"{_share(rate, count)} of such tasks were solved in tier {planned}"
        if at > 0:
            rate, count = self._rate(kind, complexity, tiers[at - 1])
            if count >= _ENOUGH_TO_MOVE and rate >= _GOOD:
                return tiers[at - 1], f"{_share(rate, count)} of such tasks were solved in tier {tiers[at - 1]}"
        return planned, ""

    def _rate(self, kind: TaskKind, complexity: Complexity, tier: str) -> tuple[float, int]:
        """The share of tasks begun in a tier that were solved without leaving it, and how many there were."""
        begun = [
            o for o in self.outcomes if (o.kind, o.complexity) == (kind, complexity) and (o.began or o.tier) == tier
        ]
        return (sum(o.solved and o.tier == tier for o in begun) / len(begun) if begun else 0.0), len(begun)


def total(estimates: Iterable[Estimate]) -> Estimate:
    """What tasks take together, one after another. The cost is not known if that of one is not."""
    listed = list(estimates)
    costs = [estimate.cost for estimate in listed]
    cost = None if None in costs else round(sum(cost or 0.0 for cost in costs), 6)
    return Estimate(sum(e.tokens for e in listed), round(sum(e.seconds for e in listed), 1), cost)


def _mixed(seen: Sequence[float], default: float) -> float:
    """The median of what was seen, drawn towards a default while there is little of it."""
    if not seen:
        return default
    weight = min(len(seen), _ENOUGH) / _ENOUGH
    return weight * median(seen) + (1 - weight) * default


def _share(rate: float, count: int) -> str:
    return f"{round(rate * count)} of {count}"
