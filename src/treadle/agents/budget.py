"""What one question may take of a run's budgets: booked before it is asked, and settled by what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import BudgetExceeded, ConfigError
from treadle.ports.context import BudgetView
from treadle.ports.model import Model, OnDelta, Pricing

_LONGEST_SECONDS = 900.0
"""Taken for the length of an answer that is paid by the hour, where no budget bounds it."""
_SHORTEST_SECONDS = 1.0
"""With less than this left, no model need be asked."""


@dataclass(slots=True)
class Share:
    """The part of the budgets that one question may take, by kind: `tokens`, `money`, `seconds`, `steps`."""

    reserve: Mapping[str, float]
    refusal: str = ""
    """Why the model may not be asked at all."""
    was_asked: bool = field(default=False, init=False)
    _took_seconds: float = field(default=0.0, init=False)

    async def ask(self, model: Model, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        """Ask, for no longer than the seconds that are reserved, if any are.

        Raises:
            ConfigError: The model may not be asked: see `refusal`.
            BudgetExceeded: The seconds are over; the call was stopped.
        """
        if self.refusal:
            raise ConfigError(self.refusal)
        self.was_asked = True
        began = asyncio.get_running_loop().time()
        bound = asyncio.timeout(self.reserve.get("seconds"))
        try:
            async with bound:
                return await model.reply(request, on_delta=on_delta)
        except TimeoutError:
            if not bound.expired():
                raise
            left = self.reserve["seconds"]
            raise BudgetExceeded(f"The run's last {left:.1f} seconds were over before the model answered.") from None
        finally:
            self._took_seconds = asyncio.get_running_loop().time() - began

    def settle(self, answer: Mapping[str, Any]) -> dict[str, float]:
        """What a recorded answer took in the end."""
        took = {"tokens": float(answer["usage"]["input_tokens"]) + float(answer["usage"]["output_tokens"])}
        if answer.get("cost"):
            took["money"] = float(answer["cost"])
        if "seconds" in self.reserve:
            took["seconds"] = self._took_seconds
        if "steps" in self.reserve:
            took["steps"] = 1.0
        return took


def shares(request: ModelRequest, pricing: Pricing | None, budgets: Mapping[str, BudgetView]) -> list[Share]:
    """What a question may take at most. If there are several, they are tried in this order.

    Seconds are booked only where they have a limit, and then all that are left: no answer says how long it will take.

    Args:
        pricing: Of the dearest model that may answer; None: not known.
    """
    tokens = request.largest_usage()
    steps = {"steps": 1.0} if "steps" in budgets else {}
    found = []
    for seconds in _seconds_to_try(budgets.get("seconds")):
        reserve = {"tokens": float(tokens.total)} | ({} if seconds is None else {"seconds": seconds}) | steps
        money = pricing(tokens, seconds or _LONGEST_SECONDS) if pricing is not None else 0.0
        found.append(Share(reserve | ({"money": money} if money > 0 else {}), _refusal(request, pricing, budgets)))
    return found


def _refusal(request: ModelRequest, pricing: Pricing | None, budgets: Mapping[str, BudgetView]) -> str:
    money = budgets.get("money")
    if pricing is not None or money is None or money.limit is None:
        return ""
    return (
        f"What {request.model!r} costs is not known, so the budget of {money.limit:g} USD cannot be kept; it was not "
        "asked. Give its price in servers.yaml, or run: pip install 'treadle[prices]'."
    )


def _seconds_to_try(budget: BudgetView | None) -> list[float | None]:
    """All that is not spent, for this very question may have reserved it before a crash; then what is free."""
    if budget is None or budget.limit is None:
        return [None]
    unspent = max(budget.limit - budget.spent, _SHORTEST_SECONDS)
    free = unspent - budget.reserved
    return [unspent, free] if _SHORTEST_SECONDS <= free < unspent else [unspent]
