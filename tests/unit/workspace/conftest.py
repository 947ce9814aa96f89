"""Real git, real folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from gitcalls import git

from treadle.workspace import Workspace


@pytest.fixture
async def workspace(tmp_path: Path) -> Workspace:
    return await Workspace.open(tmp_path / ".treadle", "run-1")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with two commits."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("A = 1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "One")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.py").write_text("B = 2\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "Two")
    return folder
