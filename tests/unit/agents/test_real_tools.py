"""The tools that come with Treadle, in the hands of an agent."""

from __future__ import annotations

from pathlib import Path

from hands import call, calls, conversation, sandbox_over
from test_conversation import Seen, responses, run

from treadle import Orchestrator
from treadle.agents.conversation import Conversation, Policy
from treadle.agents.tool_worker import ToolWorker
from treadle.agents.worker import Worker
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


async def test_every_call_is_recorded_with_its_duration_exit_code_and_what_it_left(tmp_path: Path) -> None:
    commands = ("true", "exit 3", "echo x > a; false")
    model = ScriptedModel([*(call("bash", command=command) for command in commands), call("done", message="Ready.")])
    async with Orchestrator() as orchestrator:
        await run(orchestrator, lambda: conversation(tmp_path, model, *BUILT_IN), Seen())
        good, bad, wrote, over = await responses(orchestrator)
    assert [one.exit_code for one in (good, bad, wrote, over)] == [0, 3, 1, None]
    assert all(one.seconds > 0 for one in (good, bad, wrote, over))
    assert (wrote.changed, bool(wrote.tree), good.tree, bad.tree) == (("a",), True, "", "")


async def test_in_a_folder_of_ones_own_a_digest_tells_what_a_call_left(tmp_path: Path) -> None:
    texts = ("1", "2", "1")
    model = ScriptedModel(
        [*(call("write_file", path="a", content=text) for text in texts), call("done", message="Ready.")]
    )
    tool_worker = ToolWorker(BUILT_IN, sandbox_over(tmp_path))
    worker = Worker(model, "m", tool_worker.definitions, max_tokens=500)
    policy = Policy(tool_worker.rules(None), reserved=worker.reserved, ended_by="done")
    async with Orchestrator() as orchestrator:
        await run(orchestrator, lambda: ready(Conversation(worker, tool_worker, policy)), Seen())
        first, second, third, over = await responses(orchestrator)
    assert first.digest and first.digest == third.digest != second.digest
    assert (first.tree, over.digest) == ("", "")


async def ready(made: Conversation) -> Conversation:
    return made
