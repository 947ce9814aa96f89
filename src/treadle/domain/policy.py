"""Retry: arithmetic on values passed in. Reads no clock and rolls no dice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from treadle.errors import RemoteError, TreadleError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often a failed node is tried again."""

    max_attempts: int = 3
    """Attempts in all, the first included."""
    initial_seconds: float = 0.5
    factor: float = 2.0
    max_seconds: float = 60.0
    jitter: float = 0.2
    """Up to this share is added to a delay, so that many failures do not return at once."""
    retry_on: tuple[type[BaseException], ...] | Callable[[BaseException], bool] = (Exception,)
    not_on: tuple[type[BaseException], ...] = (TypeError, KeyError, AttributeError, NameError, SyntaxError)
    """Mistakes in the program: trying again cannot help."""

    def retries(self, error: BaseException, attempt: int) -> bool:
        """Whether a failure on this attempt (1 = first) is tried again."""
        if attempt >= self.max_attempts or _is(error, self.not_on):
            return False
        if isinstance(error, TreadleError) and error.exit_code in (2, 3, 4):
            return False  # a wrong request stays wrong
        if isinstance(self.retry_on, tuple):
            return _is(error, self.retry_on)
        return self.retry_on(error)

    def delay_seconds(self, attempt: int, chance: float) -> float:
        """Seconds to wait after a failed attempt (1 = first); `chance` is a number in [0, 1)."""
        bare: float = min(self.max_seconds, self.initial_seconds * self.factor ** min(attempt - 1, 100))
        return bare * (1 + self.jitter * chance)


def _is(error: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    """As isinstance; an error that happened elsewhere is known by the names of its classes."""
    if isinstance(error, RemoteError):
        return any(cls.__name__ in error.kinds for cls in classes)
    return isinstance(error, classes)


NO_RETRY = RetryPolicy(max_attempts=1)
