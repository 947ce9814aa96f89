"""Questions keep to the run's budgets, whoever asks them, and however many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.agents.ask import Asker, Question
from treadle.domain.messages import ModelReply, ModelRequest, Usage
from treadle.domain.state import State
from treadle.engine.orchestrator import Orchestrator
from treadle.engine.results import RunOptions
from treadle.engine.worker import Worker
from treadle.errors import ModelUnavailable, RunFailed
from treadle.graph.build import Graph
from treadle.graph.spec import Send
from treadle.ports.model import OnDelta, Pricing
from treadle.ports.store import Budget, Store
from treadle.stores.memory import MemoryStore


def per_token(usage: Usage, seconds: float) -> float:
    return usage.total / 1000


class Priced:
    """Answers after `seconds`, with a number of tokens that the question names, each at a tenth of a cent."""

    provider = "priced"

    def __init__(self, seconds: float = 0.0, fails: int = 0) -> None:
        self.seconds = seconds
        self.fails = fails
        self.replies: list[ModelReply] = []
        self.asked = 0

    async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if self.asked <= self.fails:
            raise ModelUnavailable("gone")
        usage = Usage(0, int(request.messages[-1].content))
        reply = ModelReply("done", request.model, usage=usage, cost=per_token(usage, 0.0))
        self.replies.append(reply)
        return reply

    async def close(self) -> None: ...


def graph_of(
    model: Priced, tokens: list[int], *, most: int = 100, pricing: Pricing | None = per_token, seen: Any = None
) -> Graph:
    """Ask all questions at once; one that the budget does not cover is left out."""
    graph = Graph("asks", "")

    async def ask(number: Any, ctx: Any) -> dict[str, Any]:
        asker = Asker(ctx, model, "m", pricing)
        try:
            await asker.ask("ask", Question(str(tokens[number]), max_tokens=most))
        except Exception as error:
            if seen is None:
                raise
            seen.append(error)
        return {}

    async def begin(state: State) -> dict[str, Any]:
        return {}

    graph.add_node("begin", begin).add_node("ask", ask)
    graph.set_entry_point("begin").set_finish_point("ask")
    graph.add_conditional_edge("begin", lambda state: [Send("ask", n) for n in range(len(tokens))], ["ask"])
    return graph


async def run(
    graph: Graph, store: Store, budgets: dict[str, float], workers: int = 1, settle: bool = True
) -> dict[str, Budget]:
    async with Orchestrator(store) as orchestrator:
        others = [Worker(store) for _ in range(workers - 1)]
        for other in others:
            other.add_graph(graph.compile())
            await other.start()
        try:
            await orchestrator.execute(graph, {}, options=RunOptions(run_id="r", budgets=budgets), timeout=20)
        finally:
            for other in others:
                await other.stop()
            left = {budget.kind: budget for budget in await store.budgets("r")}
    return left


class Watched(MemoryStore):
    """Checks after each booking that no budget is overdrawn, also not by what is only reserved."""

    async def reserve(self, run_id: str, activation: str, key: str, amounts: Any) -> None:
        await super().reserve(run_id, activation, key, amounts)
        for budget in await self.budgets(run_id):
            assert budget.limit is None or budget.spent + budget.reserved <= budget.limit + 1e-9


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=12),
    st.floats(0.05, 0.8),
    st.integers(50, 900),
)
def test_callers_at_once_never_overspend_money_or_tokens(tokens: list[int], money: float, limit: int) -> None:
    model, seen = Priced(), list[Exception]()
    graph = graph_of(model, tokens, seen=seen)
    budgets = {"money": money, "tokens": float(limit)}
    left = asyncio.run(run(graph, Watched(), budgets, workers=3))
    spent = sum(reply.usage.total for reply in model.replies)
    if model.replies:
        assert left["tokens"].spent == spent <= limit
        assert left["money"].spent == pytest.approx(spent / 1000)
        assert left["money"].spent <= money + 1e-9
    assert left["money"].reserved == pytest.approx(0.0)
    assert len(model.replies) + len(seen) == len(tokens)
    assert all(type(error).__name__ == "BudgetExceeded" for error in seen)


async def test_a_question_that_the_money_does_not_cover_is_not_asked() -> None:
    model = Priced()
    with pytest.raises(RunFailed, match=r"may take 0\.1\d* money; 0\.05 of 0\.05 are left"):
        await run(graph_of(model, [10]), MemoryStore(), {"money": 0.05})
    assert model.asked == 0


async def test_a_model_without_a_known_price_is_not_asked_where_money_has_a_limit() -> None:
    model = Priced()
    with pytest.raises(RunFailed, match=r"'m' costs is not known, so the budget of 5 USD cannot be kept"):
        await run(graph_of(model, [10], pricing=None), MemoryStore(), {"money": 5.0})
    assert model.asked == 0


async def test_without_a_limit_for_money_what_is_known_of_it_is_counted() -> None:
    left = await run(graph_of(Priced(), [10, 20], pricing=None), MemoryStore(), {"tokens": 1000.0})
    assert left["money"].spent == pytest.approx(0.03)


async def test_free_models_book_tokens_and_nothing_else() -> None:
    class Free(Priced):
        async def reply(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
            return ModelReply("done", "m", usage=Usage(1, 1), cost=0.0)

    left = await run(graph_of(Free(), [1], pricing=lambda usage, seconds: 0.0), MemoryStore(), {"tokens": 1000.0})
    assert set(left) == {"tokens"}


async def test_an_answer_that_outlasts_the_runs_seconds_is_stopped() -> None:
    model = Priced(seconds=60.0)
    with pytest.raises(RunFailed, match=r"last 1\.1 seconds were over before the model answered"):
        await run(graph_of(model, [1]), MemoryStore(), {"seconds": 1.1})
    assert (model.asked, model.replies) == (1, [])


async def test_seconds_that_were_taken_are_booked_and_the_rest_is_left() -> None:
    left = await run(graph_of(Priced(seconds=0.05), [1]), MemoryStore(), {"seconds": 30.0})
    assert 0.05 <= left["seconds"].spent < 5.0
    assert left["seconds"].reserved == 0.0


async def test_without_seconds_left_nothing_more_is_asked() -> None:
    model = Priced()
    with pytest.raises(RunFailed, match=r"may take 1 seconds; 0\.5 of 0\.5 are left"):
        await run(graph_of(model, [1]), MemoryStore(), {"seconds": 0.5})
    assert model.asked == 0


async def test_a_failed_question_is_not_paid_for() -> None:
    model = Priced(fails=1)
    seen: list[Exception] = []
    left = await run(graph_of(model, [50], seen=seen), MemoryStore(), {"money": 1.0, "seconds": 20.0})
    assert isinstance(seen[0], ModelUnavailable)
    assert {kind: (budget.spent, budget.reserved) for kind, budget in left.items()} == {
        "money": (0, 0),
        "seconds": (0, 0),
        "tokens": (0, 0),
    }
