"""The live pool: requests wait here until their model is in memory and has a slot. What happens when: `schedule`.

One pool per event loop. It is the only one that loads and unloads on its servers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from treadle.domain.inventory import TIERS, ModelEntry, Routing
from treadle.domain.messages import ModelReply, ModelRequest
from treadle.errors import ConfigError, ModelUnavailable, TreadleError, UnknownName
from treadle.pool.agents import PoolConfig
from treadle.pool.cards import Card
from treadle.pool.garage import Garage
from treadle.pool.policy import policy_of
from treadle.pool.queues import Kind, Queues
from treadle.pool.record import Happened, Log, OnHappened, PoolNow, QueueNow
from treadle.pool.record import Kind as What
from treadle.pool.schedule import NEVER_FITS, decide
from treadle.pool.state import Action, Evict, Hold, Load, Soon, Start, View
from treadle.ports.model import Model, OnDelta
from treadle.ports.model_server import ModelServer

_TICK_S = 1.0
"""While something waits the schedule is asked this often even if nothing happens: patience ends by the clock."""
_LATE_S = 60.0
"""What was expected and did not come by then comes no more."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request that waits for its turn."""

    model: str
    pool: str
    turn: asyncio.Future[Card]


class Pool:
    """Implements `ports.model.Model` over servers whose memory it manages.

    A request names a model of the inventory, a tier, or an agent pool. It waits until the schedule lets it go. Many
    requests at once are what it is for. Cancelling a request gives its place, or its slot, back at once.
    """

    def __init__(
        self,
        servers: Mapping[str, ModelServer],
        models: Sequence[ModelEntry],
        config: PoolConfig,
        *,
        routing: Routing | None = None,
        concurrency: Mapping[str, int | None] | None = None,
        on_happened: OnHappened | None = None,
    ) -> None:
        """Take servers by the name of their service. Contacts nobody yet.

        Args:
            routing: Names of tiers can be asked for if it is given.
            concurrency: Requests at once by name of service.
            on_happened: Called with each line of the log.

        Raises:
            UnknownName: An agent pool names a model that no server here has.
        """
        self._policy = policy_of(config.policy)
        self._config = config
        self._routing = routing
        self._queues: Queues[_Waiter] = Queues()
        self._log = Log(on_happened=on_happened)
        self._why: dict[str, str] = {}
        self._soon: list[Soon] = []
        self._tick: asyncio.TimerHandle | None = None
        self._answered = 0
        self._pumping = False
        self._garage = Garage(servers, models, config, concurrency or {}, self._happened, self._changed)
        for pool in config.pools.values():
            for name in pool.models:
                self._garage.entry(name)

    @property
    def provider(self) -> str:
        return "pool"

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Answer one request when it is its turn: see `ports.model.Model.reply`.

        Raises:
            ModelTooLarge: Its model is larger than any device that may hold it; it never waited.
            ModelUnavailable: Its model could not be loaded, or its server is gone.
            UnknownName: There is no such model, tier or agent pool.
        """
        return await self._ask(request, on_delta, False)

    def interactive(self) -> Model:
        """The same pool for requests before which somebody sits: they go first when a running task ends."""
        return _Interactive(self)

    def expect(self, name: str, *, within_seconds: float, count: int = 1) -> None:
        """Tell what will be asked soon, so that its model may be loaded ahead, or not evicted. Forgotten when late.

        Raises UnknownName.
        """
        model, _ = self._choose(name)
        self._soon.append(Soon(model, count, self._clock() + max(0.0, within_seconds)))
        self._pump()

    async def open(self) -> dict[str, TreadleError]:
        """Ask all servers what they have, and load what is pinned. Returns what went wrong, by service.

        Not needed: a server is asked with its first request.
        """
        problems = await self._garage.open_all()
        self._pump()
        return problems

    def now(self) -> PoolNow:
        """Tell how things stand."""
        clock = self._clock()
        queues = tuple(
            QueueNow(line.model, line.interactive, line.count, clock - line.oldest, self._why.get(line.model, ""))
            for line in self._queues.lines()
        )
        devices = tuple(card.now(self._garage.learnt.facts) for card in self._garage.cards)
        failing = self._garage.failing()
        return PoolNow(
            time.time(), self._policy.name, devices, queues, self._garage.loads, self._answered, failing
        )  # fmt: skip

    def log(self, pool: str | None = None) -> list[Happened]:
        """What an agent pool did lately, or all of them."""
        return self._log.lines(pool)

    def names(self) -> list[str]:
        """Everything that a request may name: models, tiers, agent pools."""
        tiers = [tier for tier in TIERS if self._routing is not None and self._routing.tiers.get(tier)]
        return list(dict.fromkeys((*self._garage.names(), *tiers, *self._config.pools)))

    async def close(self) -> None:
        """Refuse what waits, and close the servers; what is loaded stays loaded. Idempotent."""
        if self._tick is not None:
            self._tick.cancel()
        for line in self._queues.lines():
            self._refuse(line.model, ModelUnavailable("The pool was closed; the request was not begun."))
        await self._garage.close()

    async def _ask(self, request: ModelRequest, on_delta: OnDelta | None, interactive: bool) -> ModelReply:
        model, pool = self._choose(request.model)
        await self._garage.ready(model)
        agents = self._config.pools.get(pool)
        interactive = interactive or (agents is not None and agents.interactive)
        async with self._slot(model, pool, interactive) as card:
            began = self._clock()
            served = self._garage.entry(model).served_as
            try:
                reply = await card.server.model.reply(replace(request, model=served), on_delta=on_delta)
            except ModelUnavailable:
                self._garage.look_again(card.server)
                raise
            self._garage.learnt.answered(model, self._clock() - began)
            self._answered += 1
        return replace(reply, model=model)

    @asynccontextmanager
    async def _slot(self, model: str, pool: str, interactive: bool) -> AsyncIterator[Card]:
        """Wait for the turn of a request; its slot is given back at the end, however it ends."""
        waiter = _Waiter(model, pool, asyncio.get_running_loop().create_future())
        ticket = self._enqueue(waiter, interactive)
        try:
            self._pump()
            card = await waiter.turn
        except asyncio.CancelledError:
            self._withdraw(waiter, ticket)
            raise
        began = self._clock()
        try:
            yield card
        finally:
            card.count(model, -1, self._clock())
            self._happened("finish", model, card.name, pool, seconds=self._clock() - began)
            self._pump()

    def _enqueue(self, waiter: _Waiter, interactive: bool) -> tuple[Kind, int]:
        now = self._clock()
        self._garage.learnt.asked(waiter.model, now)
        for index, expected in enumerate(self._soon):
            if expected.model == waiter.model:
                left = replace(expected, count=expected.count - 1)
                self._soon[index : index + 1] = [left] if left.count > 0 else []
                break
        return self._queues.put(waiter.model, waiter, now, interactive=interactive)

    def _withdraw(self, waiter: _Waiter, ticket: tuple[Kind, int]) -> None:
        """Give back what a cancelled request had: its place, or the slot that it was just given."""
        granted = waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None
        if granted:
            waiter.turn.result().count(waiter.model, -1, self._clock())
        else:
            self._queues.drop(ticket)
        self._happened("give_up", waiter.model, "", waiter.pool)
        self._pump()

    def _choose(self, name: str) -> tuple[str, str]:
        """Find model and agent pool of a request. Of several models, the one that would answer first."""
        pool = self._config.pools.get(name)
        tier = next((tier for tier in TIERS if tier == name), None)
        if pool is not None:
            names: Sequence[str] = pool.models
        elif tier is not None and self._routing is not None and self._routing.tiers.get(tier):
            # Models of services that have nothing to load are not the pool's.
            names = [model for model in self._routing.tiers[tier] if self._garage.has(model)]
        elif self._garage.has(name):
            names = [name]
        else:
            raise UnknownName("model, tier or agent pool", name, self.names())
        if not names:
            raise ConfigError(f"No model of tier {name!r} is on a server of the pool; nothing was asked.")
        waiting: dict[str, int] = {}
        for line in self._queues.lines():
            waiting[line.model] = waiting.get(line.model, 0) + line.count
        model = min(names, key=lambda one: self._garage.seconds_until(one, waiting.get(one, 0)))
        return model, pool.name if pool is not None else self._config.pool_of(model)

    def _pump(self) -> None:
        """Carry out decisions until only holds are left."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while True:
                actions = decide(self._view(), self._policy)
                done = [self._carry_out(action) for action in _grouped(actions)]
                if not any(done):
                    break
            self._tell_holds(actions)
        finally:
            self._pumping = False
        self._wind_up()

    def _view(self) -> View:
        now = self._clock()
        self._soon = [expected for expected in self._soon if now - expected.at < _LATE_S]
        devices = [card.seen() for card in self._garage.cards]
        known = self._garage.facts()
        soon = [expected for expected in self._soon if expected.model in known]
        return View(now, devices, known, self._queues.lines(), soon)

    def _carry_out(self, action: Action | tuple[tuple[str, ...], Load]) -> bool:
        if isinstance(action, tuple):
            victims, load = action
            self._garage.change(load.device, victims, load.model)
            return True
        if isinstance(action, Start):
            for _ in range(action.count):
                self._let_go(action)
            return True
        if isinstance(action, Hold) and action.reason == NEVER_FITS:
            self._refuse(action.model, self._garage.never_fits(action.model))
            return True
        return False

    def _let_go(self, start: Start) -> None:
        came, waiter = self._queues.take(start.model, interactive=start.interactive)
        if waiter.turn.done():  # cancelled in this very turn of the loop, and about to say so
            return
        card = self._garage.card(start.device)
        now = self._clock()
        card.count(start.model, +1, now)
        waiter.turn.set_result(card)
        self._happened("start", start.model, card.name, waiter.pool, waited=now - came)

    def _refuse(self, model: str, error: TreadleError) -> None:
        """Let all requests fail that wait for a model."""
        for line in [line for line in self._queues.lines() if line.model == model]:
            for _ in range(line.count):
                _, waiter = self._queues.take(model, interactive=line.interactive)
                if not waiter.turn.done():
                    self._happened("fail", model, "", waiter.pool, note=str(error))
                    waiter.turn.set_exception(error)

    def _changed(self, model: str, error: TreadleError | None) -> None:
        """A loading has ended, well or not."""
        if error is not None:
            self._refuse(model, error)
        self._pump()

    def _tell_holds(self, actions: Sequence[Action]) -> None:
        why = {action.model: action.reason for action in actions if isinstance(action, Hold)}
        for model, reason in why.items():
            if self._why.get(model) != reason:
                self._happened("hold", model, note=reason)
        self._why = why

    def _wind_up(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if len(self._queues) or self._soon or self._garage.is_resting():
            self._tick = asyncio.get_running_loop().call_later(_TICK_S, self._pump)

    def _happened(
        self,
        kind: What,
        model: str,
        device: str = "",
        pool: str = "",
        *,
        seconds: float | None = None,
        waited: float | None = None,
        note: str = "",
    ) -> None:
        pool = pool or self._config.pool_of(model)
        self._log.add(Happened(time.time(), pool, kind, model, device, seconds, waited, note))

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()


class _Interactive:
    """The pool, for requests before which somebody sits."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    def provider(self) -> str:
        return self._pool.provider

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        return await self._pool._ask(request, on_delta, True)

    async def close(self) -> None:
        """Do nothing: the pool is closed by whoever opened it."""


def _grouped(actions: Sequence[Action]) -> list[Action | tuple[tuple[str, ...], Load]]:
    """Put evictions together with the load that they make room for."""
    grouped: list[Action | tuple[tuple[str, ...], Load]] = []
    leaving: list[str] = []
    for action in actions:
        if isinstance(action, Evict):
            leaving.append(action.model)
        elif isinstance(action, Load):
            grouped.append((tuple(leaving), action))
            leaving = []
        else:
            grouped.append(action)
    return grouped
