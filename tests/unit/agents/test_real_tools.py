"""The tools that come with Treadle, in the hands of an agent."""

from __future__ import annotations

from pathlib import Path

from hands import call, calls, conversation
from test_conversation import Seen, responses, run

from treadle import Orchestrator
from treadle.models.adapters.scripted import ScriptedModel
from treadle.tools import BUILT_IN


async def test_an_agent_edits_what_it_wrote_and_sees_what_changed_since_it_began(tmp_path: Path) -> None:
    model = ScriptedModel(
        [
            call("write_file", path="a.py", content="def f():\n    return 1\n"),
            call("edit_file", path="a.py", changes=[{"old": "return 1", "new": "return 2"}]),
            calls(("search", {"pattern": "return"}), ("git_diff", {}), ("read_file", {"path": "b.py"})),
            call("done", message="Ready."),
        ]
    )
    async with Orchestrator() as orchestrator:
        await run(orchestrator, lambda: conversation(tmp_path, model, *BUILT_IN), Seen())
        found = await responses(orchestrator)
    written, edited, searched, diff, absent, _ = found
    assert (written.changed, edited.changed) == (("a.py",), ("a.py",)) and written.tree != edited.tree
    assert searched.text == "a.py:2:    return 2"
    assert "+++ b/a.py" in diff.text and "+    return 2" in diff.text  # against the beginning: the file is new
    assert absent.is_error and not absent.tree
