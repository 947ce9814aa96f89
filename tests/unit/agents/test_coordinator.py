"""What the coordinator makes of goals: small ones without a model, vague ones as questions, foreign ones in English."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.agents.fakes import FakeContext

from treadle.agents.ask import Asker
from treadle.agents.coordinator import Coordinator
from treadle.agents.prompt import Prompts
from treadle.domain.plan import Analysis
from treadle.errors import UsageError
from treadle.models.adapters.scripted import ScriptedModel


async def analyse(goal: Any, *answers: Any, **given: Any) -> tuple[Analysis, list[tuple[str, str]]]:
    """Analyse a goal; answers that are no text are sent as JSON. Also tells what was recorded."""
    context = FakeContext()
    model = ScriptedModel([answer if isinstance(answer, str) else json.dumps(answer) for answer in answers])
    found = await Coordinator(Asker(context, model, "m"), Prompts.load()).analyze_task(goal, **given)
    assert len(model.requests) == len(answers)
    return found, context.kinds


async def test_small_goal_is_read_without_a_model() -> None:
    goal = "Write slug.py with slugify(text). Words are lower case. It must not raise. slugify('A b') == 'a-b'"
    found, recorded = await analyse(goal, check="make test")
    assert recorded == []
    assert (found.kind, found.intent) == ("module", "Write slug.py with slugify(text).")
    assert found.constraints == ("It must not raise.",)
    assert found.given == ("1 example", "the check `make test`")
    assert found.done == ("slugify('A b') gives 'a-b'", "the check `make test` passes")
    assert not found.assumptions and not found.questions
    assert Analysis.of(json.loads(json.dumps(found.plain()))) == found


@pytest.mark.parametrize("goal", ["make it better", "build an app", "please write a good program", "fix it"])
async def test_goal_that_says_nothing_is_asked_about(goal: str) -> None:
    found, _ = await analyse(goal)
    assert found.questions and "What should it do?" in found.questions[0]
    changed, _ = await analyse(goal, files=["a.py"])
    assert changed.kind == "change" and "different afterwards" in changed.questions[0]


async def test_check_or_failing_test_says_enough() -> None:
    for goal, given in (
        ("make it better", {"files": ["a.py"], "check": "pytest"}),
        ("fix the failing test", {"files": ["a.py"]}),
    ):
        found, _ = await analyse(goal, **given)
        assert not found.questions


async def test_goal_of_one_word_is_taken_as_the_smallest_such_thing_and_says_so() -> None:
    found, _ = await analyse("a calculator")
    assert "smallest thing" in found.assumptions[0]


async def test_goal_in_another_language_is_translated_and_kept() -> None:
    goal = "Schreibe ein Programm `zaehler.py`, das die Wörter einer Datei auf der Kommandozeile zählt"
    english = "Write a command-line program `zaehler.py` that counts the words of a file"
    found, recorded = await analyse(goal, {"english": english})
    assert (found.goal, found.english, found.language, found.told) == (goal, english, "de", english)
    assert found.kind == "program"
    assert recorded == [("model", "translate")]
    assert found.assumptions[0].startswith("the goal, in German, is understood as: Write a command-line")


async def test_command_line_is_not_lost_in_translation() -> None:
    goal = "Schreibe ein Kommandozeilenprogramm `zaehler.py`, das die Wörter einer Datei zählt"
    found, _ = await analyse(goal, {"english": "Write a program `zaehler.py` that counts the words of a file."})
    assert found.kind == "program"
    assert found.english.endswith("of a file. It is a command-line program.")


async def test_translation_that_loses_a_name_has_the_goal_beside_it() -> None:
    goal = "schreibe die funktion wort_zahl(text) und nicht mehr, in `zähler.py`"
    found, _ = await analyse(goal, {"english": "write the function word_count and nothing else"})
    assert goal in found.english


async def test_names_stay_as_they_were_given_in_a_translation() -> None:
    goal = "Schreibe addition.py mit addiere(a, b), das zwei Zahlen addiert"
    found, _ = await analyse(goal, {"english": "Addition.py with addiere(a, b) adds two numbers"})
    assert found.english.startswith("addition.py with addiere(a, b)")


async def test_goal_that_cannot_be_translated_is_used_as_it_is_and_told() -> None:
    found, _ = await analyse("schreibe eine funktion, die zwei zahlen addiert und das ergebnis ist", "Nein.", "Nein.")
    assert found.told == found.goal and not found.english
    assert found.assumptions == ("the goal, in German, could not be translated",)


async def test_what_a_large_goal_leaves_open_is_decided_and_told() -> None:
    points = [
        {"question": "Where?", "decision": "SQLite is used."},
        {"decision": 3},
        "x",
        {"decision": " "},
        {"decision": "To please"},
    ]
    found, recorded = await analyse("Build a price-tracking SaaS", {"open": points})
    assert recorded == [("model", "assume")]
    assert (found.intent, found.assumptions) == ("Build a price-tracking SaaS", ("SQLite is used",))


async def test_unusable_answer_costs_assumptions_and_no_error() -> None:
    found, _ = await analyse("Build a price-tracking SaaS", "Sure!", "[]")
    assert found.intent == "Build a price-tracking SaaS"


async def test_described_task_is_read_by_its_description() -> None:
    found, _ = await analyse({"id": "task-123", "description": "Build a REST API for user management"})
    assert found.kind == "service"


async def test_empty_goal_is_refused() -> None:
    with pytest.raises(UsageError):
        await analyse("  \n ")
