"""What the pool learns by watching: how big models are, how long loading and answering takes, who is asked."""

from __future__ import annotations

import math
from dataclasses import replace

from treadle.pool.state import Facts

_SHARE = 0.3
"""What the newest observation counts against all before it."""
_FORGET_S = 600.0
"""After this long an ask counts for about a third."""


class Learnt:
    """Facts of models that get better with each observation. Not for several threads."""

    def __init__(self) -> None:
        self._facts: dict[str, Facts] = {}
        self._seen: set[tuple[str, str]] = set()
        self._asked_at: dict[str, float] = {}

    @property
    def facts(self) -> dict[str, Facts]:
        """Facts by model, as of now; not to be changed."""
        return self._facts

    def know(self, facts: Facts) -> None:
        """Begin with what is configured or estimated."""
        self._facts[facts.model] = facts

    def asked(self, model: str, now: float) -> None:
        """Count one request."""
        facts = self._facts[model]
        age = max(0.0, now - self._asked_at.get(model, now))
        self._asked_at[model] = now
        self._facts[model] = replace(facts, asked=facts.asked * math.exp(-age / _FORGET_S) + 1.0)

    def loaded(self, model: str, seconds: float, size: int | None = None) -> None:
        """Take in how long a loading took, and what the model takes. A size is a fact: the newest counts."""
        facts = self._facts[model]
        load_s = self._smoothed(model, "load", facts.load_s, seconds)
        self._facts[model] = replace(facts, load_s=load_s, bytes=size or facts.bytes)

    def answered(self, model: str, seconds: float) -> None:
        """Take in how long an answer took."""
        facts = self._facts[model]
        self._facts[model] = replace(facts, work_s=self._smoothed(model, "work", facts.work_s, seconds))

    def _smoothed(self, model: str, what: str, old: float, new: float) -> float:
        """The first observation replaces the guess; those after it move the mean."""
        if (model, what) in self._seen:
            return old + _SHARE * (new - old)
        self._seen.add((model, what))
        return new
