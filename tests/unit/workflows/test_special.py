"""A task of a specialist goes through the same build as any other: made, reviewed, merged, proved, handed over."""

from __future__ import annotations

from pathlib import Path

from tests.unit.workflows.builds import build, make_crew

from treadle.models.adapters.scripted import ScriptedModel

GOAL = "An HTTP service notes.py over SQLite: POST /notes {title} and GET /notes"


async def test_a_plain_service_is_built_without_asking_a_model(tmp_path: Path) -> None:
    model = ScriptedModel([])
    state = await build(await make_crew(tmp_path, model, test_seconds=60.0), GOAL)
    assert state["report"]["solved"], state["report"]["reason"]
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "notes.py", "test_notes.py"} <= made
    assert [outcome["review"]["verdict"] for outcome in state["outcomes"]] == ["accept"]
    assert model.requests == []
