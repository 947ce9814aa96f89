"""`treadle mcp serve` as clients use it: each server over both transports, by the SDK's client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commandline import Commands, until
from mcp_clients import TRACE, calling, stdio

BOTH = pytest.mark.parametrize("over", ["stdio", "http"])
TESTS = (
    "from add import add\n\ndef test_one():\n    assert add(1, 2) == 3\n\ndef test_two():\n    assert add(2, 2) == 5\n"
)
ADD = "def add(a, b):\n    return a + b\n"


@BOTH
async def test_filesystem(treadle: Commands, over: str) -> None:
    (treadle.folder / "shared").mkdir()
    async with calling(treadle, over, "filesystem", "shared") as call:
        assert len((await call.client.list_tools()).tools) == 14
        root = treadle.folder / "shared"
        assert (await call("list_allowed_directories"))["content"].splitlines()[1:] == [str(root)]
        await call("create_directory", path="a")
        await call("write_file", path="a/b.py", content=ADD)
        await call("edit_file", path="a/b.py", edits=[{"oldText": "a + b", "newText": "b + a"}])
        assert (await call("read_text_file", path=str(root / "a" / "b.py")))["content"].endswith("return b + a\n")
        assert "return b + a" in (await call("read_multiple_files", paths=["a/b.py"]))["content"]
        assert (await call("read_file", path="a/b.py", head=1))["content"] == "def add(a, b):\n"
        await call("move_file", source="a/b.py", destination="a/c.py")
        assert (await call("list_directory", path="a"))["content"] == "[FILE] c.py"
        assert "Total: 1 files" in (await call("list_directory_with_sizes", path="a"))["content"]
        assert json.loads((await call("directory_tree", path="."))["content"])[0]["name"] == "a"
        assert (await call("search_files", path=".", pattern="**/*.py"))["content"] == str(root / "a" / "c.py")
        assert "isFile: true" in (await call("get_file_info", path="a/c.py"))["content"]
        assert (await call("read_media_file", path="a/c.py"))["content"][0]["type"] == "blob"
        assert "none of the allowed folders" in await call.refused(
            "read_text_file", path=str(treadle.folder / "graphs.py")
        )


@BOTH
async def test_code_runner(treadle: Commands, over: str, sandboxed: None) -> None:
    (treadle.folder / "code").mkdir()
    async with calling(treadle, over, "code-runner", "code") as call:
        tested = await call("run_tests", files={"add.py": ADD, "test_add.py": TESTS})
        assert (tested["ok"], tested["passed"], tested["failed"]) == (False, 1, 1)
        states = {case["name"]: (case["state"], case["told"]) for case in tested["cases"]}
        assert states["test_add.py::test_one"][0] == "passed"
        assert states["test_add.py::test_two"][0] == "failed" and "assert 4 == 5" in states["test_add.py::test_two"][1]
        assert [*(treadle.folder / "code").iterdir()] == []
        ran = await call(
            "run_snippet",
            code="import os; open('made', 'w').write(input()); print(os.environ['TRACEPARENT'])",
            stdin="hello",
        )
        assert (ran["exit_code"], ran["stdout"], ran["changed"]) == (0, f"{TRACE}\n", ["made"])
        assert (treadle.folder / "code" / "made").read_text() == "hello"
        told = await call("run_command", command="cat made; ls /home; exit 3")
        assert (told["exit_code"], told["stdout"]) == (3, "hello") and "/home" in told["stderr"]
        late = await call("run_snippet", code="while true; do :; done", language="bash", seconds=0.5)
        assert late["timed_out"] and late["exit_code"] == 124
        assert "There is no 'test_none.py'" in await call.refused("run_tests", targets=["test_none.py"])
        assert "leaves the workspace" in await call.refused("run_snippet", code="1", files={"../x.py": ""})
        assert "Input should be" in await call.refused("run_snippet", code="1", language="perl")


@BOTH
async def test_workflow(treadle: Commands, over: str) -> None:
    async with calling(treadle, over, "workflow", "graphs:asking", "graphs:waiting") as call:
        offered = {one["name"]: one["kind"] for one in (await call("list_workflows"))["workflows"]}
        assert offered == {"build": "build", "graphs:asking": "graph", "graphs:waiting": "graph"}
        run = (await call("start_workflow", name="graphs:asking", state={"n": 1}))["run_id"]
        rests = await call("wait_for_run", run=run, seconds=60)
        assert rests["status"] == "waiting" and rests["questions"] == [{"task": "ask", "asks": {"question": "Go on?"}}]
        assert (await call("answer_run", run=run, value="yes"))["status"] in ("running", "done")
        assert (await call("wait_for_run", run=run, seconds=60))["status"] == "done"
        assert call.progress[-1] == "RunFinished"
        assert (await call("run_result", run=run))["result"] == {"n": 1, "seen": ["one"], "answer": "yes"}
        told = await call("run_events", run=run)
        assert [one["text"] for one in told["events"]][-1] == "finished" and told["status"] == "done"
        assert (await call("run_events", run=run, after=told["next_after"]))["events"] == []
        other = (await call("start_workflow", name="graphs:waiting"))["run_id"]
        assert (await call("cancel_run", run=other, reason="enough"))["status"] == "cancelled"
        assert {one["run_id"] for one in (await call("list_runs"))["runs"]} == {run, other}
        assert (await call("run_status"))["run_id"] == other
        nothing = await call.refused("answer_run", run=run, value=1)
        assert "asks nothing" in nothing and "shows what it asks" in nothing
        assert "no workflow 'graphs:plain'" in await call.refused("start_workflow", name="graphs:plain")
        assert "No run begins with" in await call.refused("run_status", run="zzz")
        assert "waits for" not in await call.refused("cancel_run", run=other)
    began = treadle("events", run, "--json").lines[0]
    assert began["payload"]["labels"]["traceparent"] == TRACE


async def test_a_build_is_started_and_its_report_read(treadle: Commands, sandboxed: None) -> None:
    script = treadle.good_script()
    async with calling(treadle, "stdio", "workflow", "--provider", script) as call:
        assert "not a relative file name" in await call.refused("start_build", goal="slug.py", out="/tmp/elsewhere")
        run = (await call("start_build", goal="slug.py with slugify(text)", out="made"))["run_id"]
        assert (await call("wait_for_run", run=run, seconds=120))["status"] == "done"
        found = await call("run_result", run=run)
        assert found["result"]["solved"] and (treadle.folder / "made" / "slug.py").exists()


def test_no_process_outlives_a_client_that_is_killed(treadle: Commands, sandboxed: None) -> None:
    (treadle.folder / "code").mkdir()
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, *stdio(treadle, "code-runner", "code").args],
        env=treadle.env, cwd=treadle.folder, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    treadle.started.append(client)  # type: ignore[arg-type]
    _until((treadle.folder / "code" / "began").exists)
    servers = _children(client.pid)
    assert servers
    client.send_signal(signal.SIGKILL)
    client.wait()
    _until(lambda: not any(Path("/proc", str(pid)).exists() for pid in servers))
    _until(lambda: not _running("sleep 86399"))


@pytest.mark.parametrize("over", ["stdio", "http"])
def test_a_server_ends_when_it_is_told_to(treadle: Commands, over: str) -> None:
    if over == "http":
        process = treadle.start("mcp", "serve", "filesystem", "--http", "--port", "0")
        until(process, "answers at")
    else:
        command = [sys.executable, *stdio(treadle, "filesystem").args]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=treadle.env, cwd=treadle.folder, text=True)
        treadle.started.append(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(_HELLO) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "treadle-filesystem"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("code-runner", "--sandbox", "none"), "never run without one"),
        (("filesystem", "--http", "--token-env", "NO_SUCH"), "NO_SUCH is not set"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is(
    treadle: Commands, words: tuple[str, ...], message: str
) -> None:
    done = treadle("mcp", "serve", *words)
    assert done.code == 2 and message in done.err and "Traceback" not in done.err and done.out == ""


def test_the_servers_are_listed_and_told_to_clients(treadle: Commands) -> None:
    listed = treadle("mcp", "list", "--json").lines
    tools = {server["name"]: {tool["name"] for tool in server["tools"]} for server in listed}
    assert {name: len(found) for name, found in tools.items()} == {"filesystem": 14, "code-runner": 3, "workflow": 10}
    started = treadle("mcp", "config", "filesystem", ".").json["mcpServers"]["treadle-filesystem"]
    assert started["args"][-1] == str(treadle.folder) and Path(started["command"]).exists()
    reached = treadle("mcp", "config", "workflow", "--url", "http://127.0.0.1:8765/mcp").json
    assert reached["mcpServers"]["treadle-workflow"]["type"] == "http"
    wrong = treadle("mcp", "config", "workflow", "--url", "127.0.0.1:8765")
    assert wrong.code == 2 and "is no URL of a server" in wrong.err and "hint: Such as http" in wrong.err


_HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
_CLIENT = """
import asyncio, os, sys
from mcp import Client, StdioServerParameters
async def main():
    server = StdioServerParameters(command=sys.executable, args=sys.argv[1:], env=dict(os.environ))
    async with Client(server) as client:
        await client.call_tool("run_command", {"command": "touch began; sleep 86399"})
asyncio.run(main())
"""


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _running(words: str) -> bool:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words.encode().replace(b" ", b"\0") in file.read_bytes():
                return True
        except OSError:
            continue
    return False


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_by_hand_on_a_terminal_it_says_what_it_waits_for(treadle: Commands) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "treadle", "mcp", "serve", "filesystem", "."]
    with subprocess.Popen(
        command, cwd=treadle.folder, stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(theirs)
        assert process.stderr is not None
        assert "waits on stdin for a client" in process.stderr.readline()
        os.close(ours)  # the terminal is gone
        process.wait(30)
