"""When Treadle itself is killed in the middle of a call, nothing of the call lives on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from treadle.sandboxes._engine import find_engines

SOURCE = Path(__file__).parents[2] / "src"
VICTIM = """
import asyncio, sys
from pathlib import Path
from treadle.sandboxes.choose import open_sandbox
async def main():
    sandbox = await open_sandbox(Path(sys.argv[1]), backend=sys.argv[2])
    await sandbox.exec(["sh", "-c", sys.argv[3]])
asyncio.run(main())
"""


def running(marker: str) -> list[Path]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in file.read_bytes():
                found.append(file.parent)
        except OSError:
            continue
    return found


def wait_until(condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("backend", ["bubblewrap", "landlock", "docker", "none"])
def test_a_killed_treadle_takes_the_call_along_and_git_is_back(backend: str, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / ".git").mkdir(parents=True)
    (workspace / ".git/config").write_text("ours")
    marker = f"7{time.time_ns() % 10**9}"
    script = f"setsid sleep {marker} & mkdir -p .git; echo evil > .git/config; echo > begun; sleep {marker}"
    argv = [sys.executable, "-c", VICTIM, str(workspace), backend, script]
    with subprocess.Popen(
        argv, env={"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]}, stderr=subprocess.PIPE
    ) as treadle:
        try:
            wait_until(lambda: (workspace / "begun").exists() or treadle.poll() is not None, 60.0)
            if treadle.poll() is not None:
                said = treadle.stderr.read().decode() if treadle.stderr else ""
                pytest.skip(f"{backend} does not work here: {said[-200:]}")
        finally:
            treadle.kill()
    wait_until(lambda: running(marker) == [])
    for engine in find_engines() if backend == "docker" else ():
        listed = [engine, "ps", "--all", "--quiet", "--filter", f"name=treadle-{treadle.pid}-"]
        wait_until(lambda listed=listed: subprocess.run(listed, capture_output=True, check=False).stdout == b"")
    if backend != "none":
        config = workspace / ".git/config"
        wait_until(lambda: config.exists() and config.read_text() == "ours")
