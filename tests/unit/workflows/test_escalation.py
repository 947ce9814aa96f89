"""A build whose checks keep failing climbs to the next tier, with all its rounds anew, and says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from builds import build, build_with_log, fenced, make_crew, scripted
from test_build import BAD, GOAL, GOOD, TESTS
from test_repair import CART, CHECK, FIXED, TEST, git, repo  # noqa: F401

from treadle.domain.messages import ModelReply, ModelRequest, Usage
from treadle.models.adapters.scripted import ScriptedModel
from treadle.workflows import CrewTier

WORSE = "def slugify(text):\n    return ''\n"
SLUG_CHECK = "python -c \"import slug; assert slug.slugify('A b') == 'a-b'\""


def above(*models: ScriptedModel) -> tuple[CrewTier, ...]:
    names = ("small", "large", "frontier")
    return tuple(CrewTier(model, f"m-{name}", name) for name, model in zip(names, models, strict=False))


def of_request(model: ScriptedModel) -> set[str]:
    return {request.model for request in model.requests}


def versions(report: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(made["round"], made["tier"], made["model"]) for made in report["versions"]]


async def test_when_the_rounds_of_a_tier_are_used_up_the_next_one_writes_afresh(tmp_path: Path) -> None:
    tiny = scripted([fenced(BAD)], [TESTS], [fenced(WORSE)])
    small = scripted([fenced(GOOD)], [TESTS], [fenced(GOOD)])
    crew = await make_crew(tmp_path, tiny, above=above(small), max_rounds=2)
    state, lines = await build_with_log(crew, GOAL, check=SLUG_CHECK)
    report = state["report"]
    assert report["solved"]
    assert versions(report)[-1] == (3, "small", "m-small")
    assert {model for _, _, model in versions(report)[:-1]} == {"m"}
    assert report["model"] == "m, m-small"
    assert of_request(small) == {"m-small"}
    assert "It is wrong:" not in small.requests[0].messages[-1].content
    [said] = [line for line in lines if "Escalated" in line.message]
    assert said.message == "Escalated from tier tiny to tier small, because checks fail after 2 repairs."
    assert "AssertionError" in said.fields["problem"]
    assert said.fields["model"] == "m-small"


async def test_each_tier_has_all_its_rounds_and_the_last_failure_is_the_reason(tmp_path: Path) -> None:
    models = [scripted([fenced(BAD)], [TESTS], [fenced(WORSE)]) for _ in range(3)]
    crew = await make_crew(tmp_path, models[0], above=above(*models[1:]), max_rounds=1)
    report = (await build(crew, GOAL, check="false"))["report"]
    assert (report["solved"], report["rounds"]) == (False, 6)
    assert "acceptance check fails" in report["reason"]
    assert [sum(tier == name for _, tier, _ in versions(report)) > 0 for name in ("tiny", "small", "large")] == [
        True
    ] * 3
    assert all(model.requests for model in models)


async def test_the_first_question_to_a_new_tier_is_as_cold_as_the_first_of_all(tmp_path: Path) -> None:
    tiny, small = scripted([fenced(BAD)], [TESTS], [fenced(WORSE)]), scripted([fenced(GOOD)], [TESTS])
    crew = await make_crew(tmp_path, tiny, above=above(small), max_rounds=2)
    await build(crew, GOAL, check=SLUG_CHECK)
    assert small.requests[0].temperature == 0.0
    assert tiny.requests[-1].temperature > 0.0


async def test_with_one_model_a_build_stops_where_it_did(tmp_path: Path) -> None:
    crew = await make_crew(tmp_path, scripted([fenced(BAD)], [TESTS], [fenced(WORSE)]), max_rounds=2)
    state, lines = await build_with_log(crew, GOAL, check="false")
    assert state["report"]["rounds"] == 3
    assert not [line for line in lines if "Escalated" in line.message]


async def test_what_is_solved_in_the_first_tier_never_asks_the_second(tmp_path: Path) -> None:
    small = ScriptedModel([])
    crew = await make_crew(tmp_path, scripted([fenced(GOOD)], [TESTS]), above=above(small))
    assert (await build(crew, GOAL))["report"]["solved"]
    assert small.requests == []


async def test_a_repair_climbs_as_well(tmp_path: Path, repo: Path) -> None:  # noqa: F811
    (repo / "shop" / "cart.py").write_text(CART.replace("len(self.lines) + 1", "'many'"))
    git(repo, "commit", "-qam", "Break it so that no small edit mends it")
    tiny, small = scripted([], [], ["I do not know."]), scripted([], [], [fenced(FIXED)])
    crew = await make_crew(tmp_path, tiny, repo=repo, above=above(small), max_rounds=1)
    state, lines = await build_with_log(crew, "fix the cart", CHECK)
    assert state["report"]["solved"]
    assert versions(state["report"]) == [(0, "tiny", "m"), (1, "tiny", "m"), (2, "small", "m-small")]
    assert sum("Escalated" in line.message for line in lines) == 1
    assert "Treadle-Model: m, m-small" in git(repo, "log", "-1", "--format=%B", "treadle/r1")


async def test_what_answers_cost_is_in_the_report(tmp_path: Path) -> None:
    class Paid(ScriptedModel):
        async def reply(self, request: ModelRequest, **options: Any) -> ModelReply:
            reply = await super().reply(request, **options)
            return ModelReply(reply.text, reply.model, usage=Usage(1, 1), cost=0.25)

    crew = await make_crew(tmp_path, Paid([fenced(GOOD), TESTS]))
    state = await build(crew, GOAL)
    assert state["report"]["cost"] == pytest.approx(0.5)
