"""The real command line, in a fresh folder, with a home of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import GRAPHS, SRC, Commands


@pytest.fixture
def treadle(tmp_path: Path) -> Iterator[Commands]:
    """The command line in an empty folder that is in no git repository."""
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "graphs.py").write_text(GRAPHS.read_text())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "XDG_", "OLLAMA_"))}
    # Nobody answers at port 9, so that a test never talks to an Ollama that happens to run here.
    env = kept | {"HOME": str(home), "PYTHONPATH": str(SRC), "TREADLE_OLLAMA_URL": "http://127.0.0.1:9"}
    env |= {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CEILING_DIRECTORIES": str(tmp_path),
        "TREADLE_RUNTIME_DIR": str(home),
    }
    commands = Commands(folder, env)
    yield commands
    for process in commands.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def sandboxed() -> None:
    """Skips, visibly, where generated code cannot be run in a sandbox."""
    from treadle.sandboxes.choose import probe

    found = asyncio.run(probe())
    if not any(item.ok for item in found if item.name != "none"):
        pytest.skip(f"no sandbox works here: {'; '.join(item.why for item in found)}")
