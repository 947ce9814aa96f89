"""Ask the models of a tier in order, until one answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import ConfigError, ModelError, ModelUnavailable, Refused, TreadleError, Unreachable, UsageError
from treadle.models.wrappers.wrapper import Shown
from treadle.ports.model import Model, OnDelta

_NEXT_AFTER = (Unreachable, ModelError, Refused, UsageError)
"""What another model may do better: not there, not usable, a wrong key, a name that this one does not know."""


class Fallback:
    """Implements `ports.model.Model` over several, by name. The reply says who was asked before, and did not answer."""

    def __init__(self, what: str, models: Sequence[tuple[str, Model]], *, may_begin_anew: bool = False) -> None:
        """Take the models in order. `what` they are together, for people: `tier 'small'`.

        Args:
            may_begin_anew: See `Retrying`: otherwise nobody else is asked once a part of an answer has been seen.

        Raises:
            ConfigError: There is none.
        """
        if not models:
            raise ConfigError(f"There is no model for {what}; nothing was asked.", hint="Name one under routing.tiers.")
        self._what = what
        self._models = list(models)
        self._may_begin_anew = may_begin_anew

    @property
    def provider(self) -> str:
        """Of the first."""
        return self._models[0][1].provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer as the first model that does.

        Raises:
            ModelUnavailable: None of them answered; it lists each and why. A single model's own error comes as it is.
        """
        shown, errors = Shown(on_delta), list[tuple[str, TreadleError]]()
        for name, model in self._models:
            shown.begin_anew()
            try:
                reply = await model.reply(request, on_delta=shown.on_delta)
                return replace(reply, passed_over=(*_lines(errors), *reply.passed_over)) if errors else reply
            except _NEXT_AFTER as error:
                errors.append((name, error))
                if len(self._models) == 1 or (shown.something and not self._may_begin_anew):
                    raise
        raise _none_answered(self._what, errors) from errors[-1][1]

    async def close(self) -> None:
        """Close all. Idempotent."""
        for _, model in self._models:
            await model.close()


def _lines(errors: Sequence[tuple[str, TreadleError]]) -> list[str]:
    return [f"{name}: {error}" for name, error in errors]


def _none_answered(what: str, errors: Sequence[tuple[str, TreadleError]]) -> ModelUnavailable:
    waits = [
        error.retry_after_seconds
        for _, error in errors
        if isinstance(error, ModelUnavailable) and error.retry_after_seconds is not None
    ]
    listed = "\n".join(f"  - {line}" for line in _lines(errors))
    hints = list(dict.fromkeys(f"{name}: {error.hint}" for name, error in errors if error.hint))
    return ModelUnavailable(
        f"No model of {what} answered:\n{listed}",
        hint=" ".join(hints) or "Look at the servers: treadle validate --live.",
        retry_after_seconds=min(waits, default=None),
    )
