"""Leave a service alone that fails again and again, and try it with one request after a while."""

from __future__ import annotations

from typing import Literal

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import CircuitOpen, ConfigError, ModelUnavailable, RateLimited
from treadle.models.wrappers.wrapper import Wrapper, now
from treadle.ports.model import Model, OnDelta

CircuitState = Literal["closed", "open", "half-open"]
FAILURES = 5
REST_SECONDS = 30.0


class Circuit:
    """How one service is doing. One object for all that ask it from this process."""

    def __init__(self, service: str, *, failures: int = FAILURES, rest_seconds: float = REST_SECONDS) -> None:
        """`failures`: so many in a row open it. Raises ConfigError if that is none."""
        if failures < 1 or rest_seconds <= 0:
            raise ConfigError(
                f"The circuit of {service!r} would open after {failures} failures for {rest_seconds:g} s.",
                hint="Give at least one failure, and more than 0 s.",
            )
        self.service = service
        self._failures = failures
        self._rest_seconds = rest_seconds
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._trying = False
        self._last = ""

    @property
    def state(self) -> CircuitState:
        if self._opened_at is None:
            return "closed"
        return "half-open" if self._trying or self._rests_for() <= 0 else "open"

    def enter(self) -> bool:
        """Let a request through; True if it is the one that tries an open circuit. Raises CircuitOpen."""
        if self._opened_at is None:
            return False
        left = self._rests_for()
        if left <= 0 and not self._trying:
            self._trying = True
            return True
        until = "while another request tries it" if self._trying else f"for another {left:.0f} s"
        raise CircuitOpen(
            f"{self.service} failed {self._in_a_row} times in a row, so it is not asked {until}. Last: {self._last}"
        )

    def leave(self, is_trial: bool, error: BaseException | None) -> None:
        """Take in how a request that was let through ended. What a server answered, even a refusal, is no failure."""
        if is_trial:
            self._trying = False
        if isinstance(error, ModelUnavailable) and not isinstance(error, RateLimited):
            self._in_a_row, self._last = self._in_a_row + 1, str(error)
            if is_trial or (self._opened_at is None and self._in_a_row >= self._failures):
                self._opened_at = now()
        elif error is None or (isinstance(error, Exception) and not isinstance(error, RateLimited)):
            self._in_a_row, self._opened_at = 0, None

    def _rests_for(self) -> float:
        return 0.0 if self._opened_at is None else self._opened_at + self._rest_seconds - now()


class Breaker(Wrapper):
    """Asks only while the circuit of the service lets it."""

    def __init__(self, inner: Model, circuit: Circuit) -> None:
        super().__init__(inner)
        self._circuit = circuit

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer as the inner model does. Raises CircuitOpen without asking while the service is left alone."""
        is_trial = self._circuit.enter()
        try:
            reply = await self._inner.reply(request, on_delta=on_delta)
        except BaseException as error:
            self._circuit.leave(is_trial, error)
            raise
        self._circuit.leave(is_trial, None)
        return reply
