"""Rules rate most tasks; a model is asked once about the rest; the past and the routing decide where each begins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.agents.fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.estimator import ComplexityEstimator, TierChoice, first_tier, rate
from treadle.agents.prompt import Prompts
from treadle.domain.experience import Experience, TaskOutcome
from treadle.domain.inventory import Routing
from treadle.domain.messages import Usage
from treadle.domain.plan import Plan, PlannedTask, TaskKind
from treadle.models.adapters.scripted import ScriptedModel


async def estimate(plan: Plan, *answers: Any, choice: TierChoice | None = None) -> tuple[Plan, ScriptedModel]:
    model = ScriptedModel([json.dumps(answer) for answer in answers])
    asker = Asker(FakeContext(), model, "m")
    found = await ComplexityEstimator(asker, Prompts.load(), choice).estimate(plan)
    assert len(model.requests) == len(answers)
    return found, model


def plan_of(*titles: str, kind: TaskKind = "module") -> Plan:
    return Plan("a goal", tasks=tuple(PlannedTask(f"t{n}", title, kind) for n, title in enumerate(titles, 1)))


@pytest.mark.parametrize(
    ("title", "kind", "complexity"),
    [
        ("add(a, b): a Python function that adds two numbers", "module", "simple"),
        ("a guide", "document", "simple"),
        ("a command-line todo app that stores tasks in a JSON file", "program", "medium"),
        ("matrix.py: add(a, b), multiply(a, b), transpose(a), identity(n)", "module", "medium"),
        ("a service for notes", "service", "medium"),
        ("an interpreter for a small language with a recursive descent parser", "module", "complex"),
        ("a service with authentication and WebSockets", "service", "complex"),
    ],
)
def test_rules_rate_by_what_a_task_is_and_says(title: str, kind: TaskKind, complexity: str) -> None:
    rated = rate(PlannedTask("t1", title, kind))
    assert (rated.complexity, bool(rated.why)) == (complexity, True)


async def test_one_task_is_rated_without_a_model() -> None:
    found, _ = await estimate(plan_of("a thing"))
    assert found.tasks[0].estimate.tokens > 0 and found.tasks[0].tier == ""


async def test_model_is_asked_once_about_what_rules_cannot_tell() -> None:
    plan = plan_of("a thing", "f(x) == 1 for x", "another thing", "a third")
    answer = {"tasks": [{"id": "t1", "why": "many rules", "complexity": "complex"}, {"id": "t9", "complexity": "x"}, 3]}
    found, model = await estimate(plan, answer)
    assert (found.tasks[0].complexity, found.tasks[0].why) == ("complex", "many rules")
    assert [task.complexity for task in found.tasks[1:]] == ["simple"] * 3
    asked = model.requests[0].messages[-1].content
    assert "t1: a thing (module)\nt3: another thing (module)\nt4" in asked and "t2" not in asked


async def test_what_the_plan_says_is_kept() -> None:
    task = PlannedTask("t1", "a thing", complexity="complex", why="edited", tier="small")
    found, _ = await estimate(Plan("g", tasks=(task,)), choice=TierChoice(("tiny", "small")))
    assert (found.tasks[0].complexity, found.tasks[0].why, found.tasks[0].tier) == ("complex", "edited", "small")
    assert found.tasks[0].estimate.tokens == 4_000


async def test_tier_is_that_of_the_complexity_and_moves_with_the_past() -> None:
    tiers = ("tiny", "small", "large")
    found, _ = await estimate(plan_of("f(x) doubles"), choice=TierChoice(tiers))
    assert found.tasks[0].tier == "tiny"
    past = Experience(tuple(TaskOutcome("module", "simple", "tiny", False, 10, 1.0) for _ in range(5)))
    found, _ = await estimate(plan_of("f(x) doubles"), choice=TierChoice(tiers, experience=past))
    assert found.tasks[0].tier == "small"
    assert "0 of 5 of such tasks were solved in tier tiny" in found.tasks[0].why


async def test_cost_is_that_of_the_tier_where_there_is_no_past() -> None:
    def pricing(usage: Usage, seconds: float) -> float:
        return usage.input_tokens * 1e-6 + usage.output_tokens * 2e-6

    priced: Any = {"tiny": pricing, "small": None}
    found, _ = await estimate(plan_of("f(x) doubles"), choice=TierChoice(("tiny",), pricing=priced))
    assert found.tasks[0].estimate.cost == pytest.approx(650 * 1.3e-6)
    found, _ = await estimate(plan_of("f(x) doubles"), choice=TierChoice(("small",), pricing=priced))
    assert found.tasks[0].estimate.cost is None


def test_first_tier_is_the_next_one_up_that_there_is() -> None:
    routing = Routing(agents={"documentation": "large"})
    assert first_tier("simple", ("small", "large"), routing) == "small"
    assert first_tier("complex", ("tiny", "small"), routing) == "small"
    assert first_tier("simple", ("tiny", "large"), routing, "documentation") == "large"
    assert first_tier("simple", (), routing) == ""
