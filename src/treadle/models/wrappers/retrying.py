"""Ask again what a server could not answer just now."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.domain.policy import RetryPolicy
from treadle.errors import CircuitOpen, ModelTooLarge, ModelUnavailable
from treadle.models.wrappers.wrapper import Shown, Wrapper, now
from treadle.ports.model import Model, OnDelta

POLICY = RetryPolicy(
    max_attempts=4,
    initial_seconds=0.5,
    max_seconds=20.0,
    jitter=0.5,
    retry_on=(ModelUnavailable,),
    not_on=(CircuitOpen, ModelTooLarge),
)
WITHIN_SECONDS = 120.0


class Retrying(Wrapper):
    """Asks again after `ModelUnavailable`, later each time, and never before the server's own Retry-After is over.

    An answer of which somebody has seen a part is not asked for again: the new one may read differently.
    """

    def __init__(
        self,
        inner: Model,
        policy: RetryPolicy = POLICY,
        *,
        within_seconds: float = WITHIN_SECONDS,
        may_begin_anew: bool = False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the limits: no attempt begins later than `within_seconds` after the first.

        Args:
            may_begin_anew: Whoever sees the text may see it begin again, after a line that says so. For people; not
                where the pieces are handed on as the answer.
        """
        super().__init__(inner)
        self._policy = policy
        self._within_seconds = within_seconds
        self._may_begin_anew = may_begin_anew
        self._chance = chance

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer as the inner model does. Raises what it raised last, with how often it was asked."""
        began, attempt, shown = now(), 1, Shown(on_delta)
        while True:
            try:
                return await self._inner.reply(request, on_delta=shown.on_delta)
            except ModelUnavailable as error:
                delay = self._delay_seconds(error, attempt)
                is_over = now() - began + delay > self._within_seconds
                is_seen = shown.something and not self._may_begin_anew
                if is_over or is_seen or not self._policy.retries(error, attempt):
                    raise _told(error, attempt, now() - began) from error
            await asyncio.sleep(delay)
            attempt += 1
            shown.begin_anew()

    def _delay_seconds(self, error: ModelUnavailable, attempt: int) -> float:
        own = self._policy.delay_seconds(attempt, self._chance())
        if error.retry_after_seconds is None:
            return own
        # Those who were told the same do not all come back at once.
        return max(own, error.retry_after_seconds + self._policy.initial_seconds * self._chance())


def _told(error: ModelUnavailable, attempts: int, seconds: float) -> ModelUnavailable:
    if attempts == 1:
        return error
    said = f"{error} It was asked {attempts} times in {seconds:.1f} s."
    return type(error)(said, hint=error.hint, retry_after_seconds=error.retry_after_seconds)
