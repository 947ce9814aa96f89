"""Keep to what a service allows: requests at once, requests a minute, tokens a minute. Of this process alone."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

from treadle.domain.inventory import Service
from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import ConfigError
from treadle.models.wrappers.wrapper import Wrapper, now
from treadle.ports.model import Model, OnDelta

WINDOW_SECONDS = 60.0


@dataclass(slots=True)
class Call:
    """One request in its turn."""

    tokens: int
    """What it takes: at most until it is answered, then in fact."""


class Limiter:
    """The limits of one service, and what was asked of it lately. One object for all that ask it from this process.

    No stretch of 60 s sees more requests begin, or more tokens at work, than allowed. First come, first served.
    """

    def __init__(
        self,
        service: str,
        *,
        concurrency: int | None = None,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        """Take the limits; None is no limit. Raises ConfigError for one that lets nothing through."""
        limits = {
            "concurrency": concurrency,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
        }
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise ConfigError(
                    f"{name} of {service!r} is {limit}, so it could never be asked; nothing was started.",
                    hint=f"Give at least 1, or leave {name} out for no limit.",
                )
        self.service = service
        self._slots = asyncio.Semaphore(concurrency) if concurrency is not None else nullcontext()
        self._requests = requests_per_minute or math.inf
        self._tokens = tokens_per_minute or math.inf
        self._counts = requests_per_minute is not None or tokens_per_minute is not None
        self._turn = asyncio.Lock()
        self._ended = asyncio.Event()
        self._begun: deque[float] = deque()
        """When requests began, of the last minute."""
        self._at_work = 0
        """Tokens of requests that have not ended."""
        self._spent: deque[tuple[float, int]] = deque()
        """When requests ended, and their tokens, of the last minute."""
        self._spent_tokens = 0

    @classmethod
    def of(cls, service: Service) -> Limiter:
        """The limits that the inventory has for a service. Raises ConfigError as the constructor."""
        return cls(
            service.name,
            concurrency=service.concurrency,
            requests_per_minute=service.requests_per_minute,
            tokens_per_minute=service.tokens_per_minute,
        )

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[Call]:
        """Wait for a turn, and hold it. `tokens` is what the request may take at most.

        Raises:
            ConfigError: It may take more than a whole minute allows. It did not wait.
        """
        if tokens > self._tokens:
            raise ConfigError(
                f"A request to {self.service!r} may take {tokens} tokens, and tokens_per_minute is {self._tokens:g}; "
                "it was not asked.",
                hint="Raise tokens_per_minute, or ask for a shorter answer.",
            )
        async with self._slots:
            await self._begin(tokens)
            call = Call(tokens)
            try:
                yield call
            finally:
                self._end(tokens, call.tokens)

    async def _begin(self, tokens: int) -> None:
        if not self._counts:
            return
        async with self._turn:
            while (seconds := self._seconds_until_free(tokens)) > 0:
                await self._wait(seconds)
            self._begun.append(now())
            self._at_work += tokens

    def _end(self, most: int, tokens: int) -> None:
        if self._counts:
            self._at_work -= most
            self._spent.append((now(), tokens))
            self._spent_tokens += tokens
            self._ended.set()

    async def _wait(self, seconds: float) -> None:
        """Wait until time has passed, or a call has ended and given back what it did not need."""
        self._ended.clear()
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._ended.wait()
        except TimeoutError:
            pass

    def _seconds_until_free(self, tokens: int) -> float:
        """0: now; infinity: not before a call ends."""
        at = now()
        while self._begun and self._begun[0] + WINDOW_SECONDS <= at:
            self._begun.popleft()
        while self._spent and self._spent[0][0] + WINDOW_SECONDS <= at:
            self._spent_tokens -= self._spent.popleft()[1]
        until = self._begun[0] + WINDOW_SECONDS if len(self._begun) >= self._requests else at
        return max(until, self._tokens_free_at(tokens, at)) - at

    def _tokens_free_at(self, tokens: int, at: float) -> float:
        """When enough of the tokens have left the window; they stay until 60 s after their call has ended."""
        left = self._tokens - self._at_work - self._spent_tokens
        if left >= tokens:
            return at
        for ended_at, spent in self._spent:
            left += spent
            if left >= tokens:
                return ended_at + WINDOW_SECONDS
        return math.inf


class Limited(Wrapper):
    """Asks when the service's limits let it; waits its turn until then."""

    def __init__(self, inner: Model, limiter: Limiter) -> None:
        super().__init__(inner)
        self._limiter = limiter

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer as the inner model does, in turn. Raises ConfigError for what no minute has room for."""
        async with self._limiter.slot(request.largest_usage().total) as call:
            reply = await self._inner.reply(request, on_delta=on_delta)
            call.tokens = reply.usage.total or call.tokens
            return reply
