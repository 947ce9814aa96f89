"""Processes that go on in a sandbox: talked to by pipes, behind the same walls, and gone when they are ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import MIB, Limits, Process, Sandbox, Spawning
from treadle.sandboxes import choose

LIMITS = Limits(wall_seconds=0.5, cpu_seconds=1, memory_bytes=256 * MIB, processes=24)
ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
SHARING = {"bubblewrap": True, "landlock": False, "docker": True, "none": True}
"""Whether a process of this backend may have the workspace."""


@pytest.fixture(params=sorted(SHARING))
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sandbox]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    try:
        opened = await choose.open_sandbox(folder, backend=request.param, limits=LIMITS)
    except SandboxUnavailable as error:
        pytest.skip(f"{request.param} does not work here: {error}")
    yield opened
    await opened.close()


walls_only = pytest.mark.parametrize("sandbox", ["bubblewrap", "landlock"], indirect=True)


async def start(sandbox: Sandbox, code: str, *arguments: object, **more: object) -> Process:
    assert isinstance(sandbox, Spawning)
    argv = ["python", "-S", "-c", code, *map(str, arguments)]
    return await sandbox.spawn(argv, **{"with_workspace": SHARING[sandbox.name], **more})  # type: ignore[arg-type]


async def line_of(process: Process) -> str:
    async with asyncio.timeout(10):
        data = b""
        while not data.endswith(b"\n"):
            more = await process.read()
            assert more, f"it ended: {process.stderr()}"
            data += more
        return data.decode().strip()


async def test_it_answers_again_and_again_past_the_time_limit_of_a_call(sandbox: Sandbox) -> None:
    process = await start(sandbox, ECHO)
    began = time.monotonic()
    answers = []
    while time.monotonic() - began < 2 * LIMITS.wall_seconds:
        await process.write(b"abc\n")
        answers.append(await line_of(process))
    await process.end()
    assert set(answers) == {"cba"}
    with pytest.raises(BrokenPipeError):
        await process.write(b"abc\n")


async def test_closing_its_input_lets_it_end_by_itself(sandbox: Sandbox) -> None:
    process = await start(sandbox, ECHO + "\nsys.stderr.write('bye')\nsys.exit(3)")
    await process.end(grace_seconds=10)
    result = await process.wait()
    assert (result.exit_code, process.stderr(), await process.read()) == (3, "bye", b"")


async def test_what_it_started_is_gone_when_it_is_ended(sandbox: Sandbox) -> None:
    code = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("ready", flush=True)
        while True: time.sleep(1)
    os._exit(0)
time.sleep(600)
"""
    process = await start(sandbox, code, f"marker-of-{os.getpid()}")
    await line_of(process)
    assert left_of(f"marker-of-{os.getpid()}")
    await process.end(grace_seconds=0)
    with pytest.raises(SandboxUnavailable):
        await process.wait()
    assert not left_of(f"marker-of-{os.getpid()}")


async def test_closing_the_sandbox_ends_it(sandbox: Sandbox) -> None:
    process = await start(sandbox, ECHO)
    await process.write(b"abc\n")
    await line_of(process)
    await sandbox.close()
    with pytest.raises(SandboxUnavailable):
        await process.wait()
    assert await process.read() == b""
    await process.end()


async def test_a_command_that_is_not_there_ends_with_127(sandbox: Sandbox) -> None:
    assert isinstance(sandbox, Spawning)
    process = await sandbox.spawn(["no-such-program"], with_workspace=SHARING[sandbox.name])
    assert (await process.wait()).exit_code == 127
    await process.end()


async def test_ending_wakes_who_writes_to_one_that_does_not_read(sandbox: Sandbox) -> None:
    process = await start(sandbox, "print('ready', flush=True)\nimport time\ntime.sleep(600)")
    await line_of(process)
    writing = asyncio.create_task(process.write(b"x" * MIB))
    await asyncio.sleep(0)
    await process.end(grace_seconds=0)
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(writing, 10)


async def test_a_flood_waits_until_it_is_read(sandbox: Sandbox) -> None:
    code = "import os\nfor _ in range(64): os.write(1, b'x' * 65536)\nos.write(2, b'all')"
    process = await start(sandbox, code)
    seen = 0
    async with asyncio.timeout(10):
        while data := await process.read():
            seen += len(data)
    assert seen == 64 * 65536
    assert (await process.wait()).exit_code == 0
    await process.end()


@walls_only
async def test_it_reaches_no_network_and_no_file_but_those_that_it_may_read(sandbox: Sandbox, tmp_path: Path) -> None:
    secret, lent = tmp_path / "secret.txt", tmp_path / "lent.txt"
    secret.write_text("secret")
    lent.write_text("lent")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = """
import sys, _socket
def tried(what):
    try: return what()
    except OSError as error: return "refused"
def connect():
    _socket.socket().connect(("127.0.0.1", int(sys.argv[3])))
    return "reached"
print(tried(lambda: open(sys.argv[1]).read()), tried(lambda: open(sys.argv[2]).read()),
      tried(lambda: open(sys.argv[2], "w") and "written"), tried(connect), flush=True)
"""
    process = await start(sandbox, code, secret, lent, port, reads=[lent])
    assert await line_of(process) == "refused lent refused refused"
    await process.end()
    server.close()


@walls_only
async def test_without_the_workspace_it_sees_and_leaves_nothing_there(sandbox: Sandbox) -> None:
    (sandbox.workspace / "file.txt").write_text("content")
    code = "import os\nopen('planted', 'w').close()\nprint(os.listdir('.'), flush=True)"
    process = await start(sandbox, code, with_workspace=False)
    assert await line_of(process) == "['planted']"
    await process.end()
    assert os.listdir(sandbox.workspace) == ["file.txt"]


@pytest.mark.parametrize("sandbox", ["bubblewrap"], indirect=True)
async def test_with_the_workspace_it_works_there_and_git_stays_protected(sandbox: Sandbox) -> None:
    (sandbox.workspace / ".git").mkdir()
    (sandbox.workspace / ".git" / "config").write_text("[core]")
    code = """
import os
open("made", "w").close()
print(os.listdir(".git"), flush=True)
open(".git/config", "w")
"""
    process = await start(sandbox, code)
    assert await line_of(process) == "[]"
    assert (await process.wait()).exit_code == 1
    await process.end()
    assert (sandbox.workspace / "made").exists()
    assert (sandbox.workspace / ".git" / "config").read_text() == "[core]"


@pytest.mark.parametrize("sandbox", ["landlock"], indirect=True)
async def test_where_git_cannot_be_protected_for_so_long_it_is_not_started(sandbox: Sandbox) -> None:
    assert isinstance(sandbox, Spawning)
    with pytest.raises(SandboxUnavailable, match="was not started"):
        await sandbox.spawn(["true"])


def left_of(marker: str) -> list[str]:
    """Processes of the machine with this word in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            words = Path("/proc", entry, "cmdline").read_bytes().split(b"\0") if entry.isdigit() else []
        except OSError:
            continue
        if marker.encode() in words and words[0] != b"pytest":
            found.append(entry)
    return found
