"""MCP servers as users configure them: listed, called by hand, given to agents, and never called twice after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import SRC, Commands

SERVER = Path(__file__).parents[1] / "integration" / "mcp_hostile.py"
SERVERS = f"""
[mcp.servers.x]
command = "python"
args = ["-S", "{SERVER}", "plain"]
reads = ["{SERVER.parent}"]

[mcp.servers.dead]
command = "no-such-program"

[mcp.servers.locked]
url = "http://127.0.0.1:9/mcp"
token_env = "LOCKED_TOKEN"
"""
AGENT = """---
name: actor
tools: ["x__*", done]
---
You act.
"""


@pytest.fixture
def project(treadle: Commands, sandboxed: None) -> Commands:
    treadle.write("treadle.toml", SERVERS)
    treadle.env["TREADLE_MCP_TRUSTED"] = str(treadle.folder)
    return treadle


def test_servers_are_listed_and_called_and_dead_ones_are_one_line_each(project: Commands) -> None:
    listed = project("tools", "list", "--json")
    (act,) = [view for view in listed.lines if view["package"].startswith("mcp:")]
    assert (listed.code, act["name"], act["effects"]) == (0, "x__act", "at_most_once")
    dead, locked = listed.err.strip().splitlines()
    assert "'dead'" in dead and "no program 'no-such-program'" in dead
    assert "'locked'" in locked and "LOCKED_TOKEN is not set" in locked
    assert project("tools", "call", "x__act").out.startswith("acted ")
    unknown = project("tools", "call", "x__atc")
    assert unknown.code == 2 and "Did you mean 'x__act'?" in unknown.err


def test_settings_are_checked_with_their_lines_and_servers_are_asked(project: Commands) -> None:
    checked = project("validate", "--json")
    assert checked.code == 0 and checked.json["mcp_servers"] == {"locked": "LOCKED_TOKEN is not set"}
    asked = project("validate", "--live", "--json")
    assert asked.code == 5 and asked.json["mcp_servers"]["x"] == ["x__act"]
    project.write("treadle.toml", '[mcp]\n[mcp.servers.y]\ncommand = "x"\nurl = "https://y"\n')
    wrong = project("validate")
    assert wrong.code == 2 and "treadle.toml:2: mcp.servers.y: it needs either a command or a url" in wrong.err


def test_an_agent_uses_a_tool_of_a_server_and_its_call_is_in_the_log(project: Commands) -> None:
    (project.folder / "agents").mkdir()
    project.write("agents/actor.md", AGENT)
    call, done = ({"name": name, "arguments": args} for name, args in (("x__act", {}), ("done", {"message": "Acted."})))
    rules = [("acted ", done), ("You act", call)]
    script = [{"when": when, "reply": f"<tool_call>{json.dumps(reply)}</tool_call>"} for when, reply in rules]
    project.write("script.json", json.dumps(script))
    start = ("run", "agent:actor", "--state", '{"message": "Act."}', "--provider", "scripted:script.json", "--json")
    ran = project(*start)
    assert ran.lines[-1]["state"]["answer"] == "Acted.", ran.err
    (returned,) = [event for event in project.events() if event["type"] == "ToolReturned" and "x__act" in str(event)]
    assert "acted " in str(returned)
    assert "x__act: acted " in project("logs").out
    assert '"act"' in (project.folder / ".treadle" / "mcp-tools.json").read_text()
    project.write("agents/actor.md", AGENT.replace("x__*", "dead__act"))
    lost = project(*start)
    assert lost.code == 1 and "The MCP server 'dead'" in lost.err


PROGRAM = f"""
import asyncio, os, signal, sys, threading, time
from pathlib import Path
from treadle import PipelineBuilder
from treadle.domain.messages import ModelReply, ToolCall
from treadle.models.adapters.scripted import ScriptedModel

HERE, KILL = Path(sys.argv[1]), sys.argv[2]
LOG = HERE / "log"

def die_in_call():
    while not LOG.exists() or len(LOG.read_text().splitlines()) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def reply(request):
    made = sum(len(message.tool_calls) for message in request.messages)
    if KILL == "between" and made == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if made == 3:
        return ModelReply(" | ".join(m.content for m in request.messages if m.role == "tool"), "m")
    return ModelReply("", "m", "tool_calls", tool_calls=(ToolCall("", "x__act", {{}}),))

async def main():
    env = {{"LOG": str(LOG), "HANG": "2" if KILL == "inside" else "0"}}
    args = ["-S", {str(SERVER)!r}, "counts"]
    builder = PipelineBuilder().llm(ScriptedModel(reply)).mcp(
        "x", command="python", args=args, env=env, sandbox="none", workspace=False)
    if KILL == "inside":
        threading.Thread(target=die_in_call, daemon=True).start()
    async with builder.store(f"sqlite:///{{HERE}}/runs.db").home(HERE).build() as pipeline:
        print((await pipeline.run("t", None if "go" in sys.argv else "Act.")).text)

asyncio.run(main())
"""


@pytest.mark.parametrize(("moment", "told"), [("between", ""), ("inside", "nobody knows whether it took effect")])
def test_after_a_kill_no_call_is_made_again(tmp_path: Path, moment: str, told: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path), *arguments],
            capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
            env={"PYTHONPATH": str(SRC), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip

    assert start(moment).returncode == -signal.SIGKILL
    again = start("never", "go")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "log").read_text() == "called\n" * 3
    assert again.stdout.count("acted") == (2 if told else 3) and told in again.stdout
