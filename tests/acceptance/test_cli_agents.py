"""`treadle agents`, `treadle run agent:NAME`, and threads that are killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import SRC, Commands

KEEPER = """---
name: keeper
description: Keeps notes.
tools: [write_file, done]
approvals: {write_file: ask}
---
You keep notes.
"""
SHOUTER = """
from treadle.agents import Agent


class Shouter(Agent):
    '''Says it louder.'''

    def execute(self, input_data):
        return {"loud": self._call_llm("Louder: " + input_data["text"]).upper()}
"""


def tagged(name: str, **arguments: str) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


@pytest.fixture
def project(treadle: Commands) -> Commands:
    folder = treadle.folder / "agents"
    folder.mkdir()
    (folder / "keeper.md").write_text(KEEPER)
    (folder / "shouter.py").write_text(SHOUTER)
    (folder / "odd.md").write_text("---\ntier: huge\n---\n")
    rules = [
        {"when": "note.txt was made", "reply": tagged("done", message="It is kept.")},
        {"when": "You keep notes", "reply": tagged("write_file", path="note.txt", content="milk")},
        {"when": "Louder", "reply": "hey"},
    ]
    (treadle.folder / "script.json").write_text(json.dumps(rules))
    return treadle


def test_agents_are_listed_and_shown(project: Commands) -> None:
    listed = project("agents", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["NAME", "keeper", "shouter"]
    assert "odd.md cannot be used" in listed.err
    assert [view["kind"] for view in project("agents", "list", "--json").lines] == ["prompt", "class"]
    shown = project("agents", "show", "keeper").out
    assert "write_file: ask" in shown and "You keep notes." in shown
    assert project("agents", "show", "keper").code == 2
    assert "Did you mean 'keeper'?" in project("agents", "show", "keper").err


def test_a_class_is_run_by_its_name(project: Commands) -> None:
    done = project("run", "agent:shouter", "--state", '{"text": "hey"}', "--provider", "scripted:script.json")
    assert (done.code, done.json["loud"]) == (0, "HEY")
    assert "asked 1 times" in project("logs").out


def test_an_approval_is_answered_from_another_process(project: Commands) -> None:
    asked = project(
        "run", "agent:keeper", "--state", '{"message": "Milk."}', "--provider", "scripted:script.json", "--json"
    )
    question = asked.lines[-1]["asks"][0]["value"]
    assert (asked.code, question["tool"], question["arguments"]["content"]) == (0, "write_file", "milk")
    run = asked.lines[-1]["run_id"]
    note = project.folder / ".treadle" / "work" / run / "note.txt"
    assert not note.exists()
    answered = project("answer", run, "yes", "--json")
    assert answered.lines[-1]["state"]["answer"] == "It is kept."
    assert note.read_text() == "milk"
    story = project("debug", "--run", run).out
    assert all(said in story for said in ("You keep notes.", "Milk.", "note.txt was made", "| +milk"))


@pytest.mark.usefixtures("sandboxed")
def test_what_a_tool_said_at_length_can_be_read_whole(project: Commands) -> None:
    project.write("agents/counter.md", "---\nname: counter\ntools: [bash, done]\n---\nYou count.\n")
    rules = [
        {"when": "left out ...]", "reply": tagged("done", message="Counted.")},
        {"when": "You count", "reply": tagged("bash", command="seq 20000")},
    ]
    project.write("script.json", json.dumps(rules))
    ran = project("run", "agent:counter", "--state", '{"message": "Count."}', "--provider", "scripted:script.json")
    assert ran.code == 0 and "Counted." in ran.out
    assert "| 10000\n" in project("debug", "--full").out and "| 10000\n" not in project("debug").out


def test_what_cannot_be_run_is_refused(project: Commands) -> None:
    unknown = project("run", "agent:nobody")
    assert unknown.code == 2 and "There is no agent 'nobody'" in unknown.err
    broken = project("run", "agent:odd")
    assert broken.code == 2 and "huge" in broken.err
    assert project("run", "graphs:plain", "--model", "x").code == 2


THREAD = """
import asyncio, os, signal, sys
from pathlib import Path
from treadle import PipelineBuilder
from treadle.domain.messages import ModelReply, ToolCall
from treadle.models.adapters.scripted import ScriptedModel
from treadle.ports.tool import ToolContext
from treadle.tools import tool

HERE, KILL = Path(sys.argv[1]), sys.argv[2]

def note(what):
    with (HERE / "log").open("a") as log:
        log.write(what + "\\n")
    if what == KILL:
        os.kill(os.getpid(), signal.SIGKILL)

def reply(request):
    step = sum(len(message.tool_calls) for message in request.messages)
    note(f"model {step}")
    name, arguments = ("add", {"text": str(step)}) if step < 4 else ("done", {"message": "Ready."})
    return ModelReply("", "m", "tool_calls", tool_calls=(ToolCall("", name, arguments),))

@tool(effects="idempotent", resources=lambda args: {"a"})
async def add(text: str, context: ToolContext) -> str:
    '''Add to a file.'''
    place = context.sandbox.workspace / "a"
    place.write_text((place.read_text() if place.exists() else "") + text)
    note(f"tool {text}")
    return "added " + text

async def main():
    builder = PipelineBuilder().llm(ScriptedModel(reply)).preamble("You add.").tool(add, "done")
    async with builder.store(f"sqlite:///{HERE}/runs.db").home(HERE).build() as pipeline:
        print((await pipeline.run("t", None if (HERE / "runs.db").exists() and "go" in sys.argv else "Add.")).text)

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["model 2", "tool 1", "model 4"])
def test_a_thread_killed_at_any_moment_asks_again_at_most_what_was_in_flight(tmp_path: Path, moment: str) -> None:
    (tmp_path / "thread.py").write_text(THREAD)

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "thread.py"), str(tmp_path), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
            env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip

    assert start(moment).returncode == -signal.SIGKILL
    again = start("never", "go")
    assert (again.stdout.strip(), again.returncode) == ("Ready.", 0), again.stderr
    done = (tmp_path / "log").read_text().splitlines()
    repeated = [what for what in set(done) if done.count(what) > 1]
    assert repeated == [moment] and done.count(moment) == 2
    assert (tmp_path / "work" / "t" / "a").read_text() == "0123"


ASKING = """
import asyncio, sys
from pathlib import Path
from treadle import PipelineBuilder
from treadle.domain.messages import ModelReply, ToolCall
from treadle.models.adapters.scripted import ScriptedModel

def reply(request):
    if request.messages[-1].role == "tool":
        return request.messages[-1].content
    return ModelReply("", "m", "tool_calls", tool_calls=(ToolCall("", "launch", {}),))

def launch() -> str:
    "Launch it."
    return "launched"

async def main():
    builder = PipelineBuilder().llm(ScriptedModel(reply)).tool(launch).approve("launch", "ask").home(Path("."))
    async with builder.store("sqlite:///runs.db").build() as pipeline:
        done = await pipeline.run("t", *sys.argv[1:])
        print(done.approval and done.approval["tool"], done.text)

asyncio.run(main())
"""


def test_a_thread_of_a_program_is_answered_from_the_command_line(treadle: Commands) -> None:
    (treadle.folder / "asking.py").write_text(ASKING)
    store = ("--store", "sqlite:///runs.db")
    assert treadle.run(sys.executable, "asking.py", "Go.").out.strip() == "launch"
    resumed = treadle("resume", "t", *store)
    assert resumed.code == 2 and "pipeline.run('t')" in resumed.err
    answered = treadle("answer", "t", "yes", *store)
    assert answered.code == 0 and "Its program goes on with it" in answered.err
    assert treadle.run(sys.executable, "asking.py").out.strip() == "None launched"
