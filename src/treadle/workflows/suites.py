"""Running the tests that a repository has, on versions of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from treadle.agents.suite import Suite
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew

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


def is_all_tests(check: str) -> bool:
    """Tell whether a check is nothing but all tests of the repository."""
    return bool(_PYTEST.fullmatch(check.strip()))
