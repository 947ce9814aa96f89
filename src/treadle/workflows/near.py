"""Looking for a right version near a wrong one, before a model is asked again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from treadle.agents.relevance import Suspect, read_failure
from treadle.agents.unfinished import tests_of
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState
from treadle.workflows.suites import python_texts, run_check


async def search_near(
    crew: Crew, ctx: NodeContext, key: str, tree: str, suspect: Suspect, state: WorkState
) -> dict[str, Any] | None:
    """Run the check on the best version of a file within a few small edits; None if none passes more tests.

    The result is that of the check, with the number of `edits`.
    Searched is with the tests that failed at first and those that take something from the file.
    """
    path = suspect.path
    texts = await python_texts(crew, tree)
    failing = {test for test, _ in read_failure(state["brief"]["output"], texts).tests}
    tests = sorted(failing & set(texts) | set(tests_of(path, texts)))

    async def search() -> dict[str, Any]:
        await crew.workspace.restore(tree)
        return asdict(await crew.climb(path, texts[path], tests, within=suspect.names))

    request = {"tool": "climb", "tree": tree, "tests": tests, "within": list(suspect.names)}
    found = await ctx.step(key, search, kind="tool", request=request)
    if not found["edits"]:
        return None
    ctx.log(f"{found['edits']} small edits: {found['failed']} tests fail, of {found['tried']} versions tried.")
    done = await run_check(crew, ctx, f"{key}.check", tree, state["check"], {path: found["source"]}, state)
    return {**done, "edits": found["edits"]}
