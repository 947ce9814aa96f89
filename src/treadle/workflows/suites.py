"""Running the tests and the check of a repository on versions of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from treadle.agents.suite import Suite
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState

_ENOUGH_SECONDS = 15.0
"""What a version may take beyond five times what the check took before it."""
_PYTEST = re.compile(r"(?:PYTHONPATH=\S+ )?(?:python3? -m )?pytest(?: -[qvx]+)*")


async def run_suite(
    crew: Crew,
    ctx: NodeContext,
    key: str,
    tree: str,
    files: Mapping[str, str | None],
    *,
    python_path: str = "",
    only: str = "",
    before: Suite | None = None,
) -> Suite:
    """Run the tests of the repository on a tree with files laid over it. It may take four times as long as before."""
    seconds = crew.settings.check_seconds
    if before is not None and before.seconds:
        seconds = min(seconds, max(20.0, 4 * before.seconds + 10))

    async def run() -> dict[str, Any]:
        left = await crew.workspace.write(tree, files)
        suite = await crew.run_suite(python_path=python_path, only=only, seconds=seconds)
        return {**suite.as_dict(), "tree": left}

    request = {"tool": "run_suite", "tree": tree, "files": files, "only": only}
    return Suite.of(await ctx.step(key, run, kind="tool", request=request))


async def run_check(
    crew: Crew,
    ctx: NodeContext,
    key: str,
    tree: str,
    command: str,
    files: Mapping[str, str | None] | None = None,
    state: WorkState | None = None,
) -> dict[str, Any]:
    """Run a check on a tree with some files laid over it: see `Crew.run_command`; `tree` is what it was run on.

    A version that hangs is stopped soon, if the state knows what the check took before it.
    """
    before = (state or {}).get("brief", {}).get("seconds")
    seconds = _ENOUGH_SECONDS + 5 * before if before else 0.0

    async def run() -> dict[str, Any]:
        left = await crew.workspace.write(tree, files or {})
        return {"tree": left, **await crew.run_command(command, seconds=seconds)}

    request = {"tool": "run_command", "command": command, "tree": tree, "files": files or {}}
    done: dict[str, Any] = await ctx.step(key, run, kind="tool", request=request)
    return done


async def python_texts(crew: Crew, tree: str) -> dict[str, str]:
    """Read the Python files and the README of a tree. Not journaled: a tree never changes."""
    texts = await crew.workspace.snapshots.texts(tree)
    return {path: text for path, text in texts.items() if path.endswith(".py") or path.upper().startswith("README")}


def is_all_tests(check: str) -> bool:
    """Tell whether a check is nothing but all tests of the repository."""
    return bool(_PYTEST.fullmatch(check.strip()))
