"""The process that launchers are forked from: replaced when it is killed, and gone with Treadle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import Limits
from treadle.sandboxes import _fork_server
from treadle.sandboxes.unconfined import UnconfinedSandbox

SOURCE = Path(__file__).parents[2] / "src"
VICTIM = """
import asyncio, sys
from pathlib import Path
from treadle.ports.sandbox import Limits
from treadle.sandboxes import _fork_server
from treadle.sandboxes.unconfined import UnconfinedSandbox
async def main():
    await UnconfinedSandbox(Path(sys.argv[1]), limits=Limits(), controllers=None).exec(["true"])
    print(_fork_server._server._process.pid, flush=True)
    sys.stdin.read()
asyncio.run(main())
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> UnconfinedSandbox:
    return UnconfinedSandbox(tmp_path, limits=Limits(), controllers=None)


def server_pid() -> int:
    process = _fork_server._server._process
    assert process is not None
    return process.pid


async def test_a_server_that_was_killed_is_replaced(sandbox: UnconfinedSandbox) -> None:
    await sandbox.exec(["true"])
    first = server_pid()
    handle = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    await ended(handle)
    assert (await sandbox.exec(["sh", "-c", "exit 7"])).exit_code == 7
    assert server_pid() != first


async def test_one_server_serves_many_calls_at_once(sandbox: UnconfinedSandbox) -> None:
    await sandbox.exec(["true"])
    first = server_pid()
    results = await asyncio.gather(*(sandbox.exec(["sh", "-c", f"exit {n}"]) for n in range(40)))
    assert [result.exit_code for result in results] == list(range(40))
    assert server_pid() == first


async def test_a_launcher_that_is_killed_is_an_error_and_its_command_ends(
    sandbox: UnconfinedSandbox, tmp_path: Path
) -> None:
    script = 'echo $$ > pid.part; mv pid.part pid; kill -9 "$PPID"; sleep 60'
    with pytest.raises(SandboxUnavailable, match="launcher failed"):
        await sandbox.exec(["sh", "-c", script])
    pid = int((tmp_path / "pid").read_text())
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    await ended(handle)


@pytest.mark.parametrize("number", [signal.SIGKILL, None])
def test_the_server_ends_with_treadle_however_that_ends(tmp_path: Path, number: signal.Signals | None) -> None:
    argv = [sys.executable, "-c", VICTIM, str(tmp_path)]
    with subprocess.Popen(
        argv, env={"PYTHONPATH": str(SOURCE)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as treadle:
        assert treadle.stdout is not None and treadle.stdin is not None
        server = os.pidfd_open(int(treadle.stdout.readline()))
        if number is not None:
            treadle.send_signal(number)
        treadle.stdin.close()
    asyncio.run(ended(server))


async def ended(process: int) -> None:
    from treadle.sandboxes._process import readable

    async with asyncio.timeout(20):
        await readable(process)
    os.close(process)
