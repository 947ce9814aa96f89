"""Looking for a right version near a wrong one, before a model is asked again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from treadle.agents.answers import is_python
from treadle.agents.relevance import Suspect, is_test, read_failure
from treadle.agents.small_edits import rewritten
from treadle.agents.unfinished import tests_of
from treadle.ports.context import NodeContext
from treadle.workflows.crew import Crew, WorkState
from treadle.workflows.suites import python_texts, run_check


async def search_near(
    crew: Crew, ctx: NodeContext, key: str, tree: str, suspect: Suspect, state: WorkState
) -> dict[str, Any] | None:
    """Run the check on the best version of a file within a few small edits; None if none passes more tests.

    The result is that of the check, with the number of `edits`. Versions are judged by the tests that failed at first,
    and by those that take something from the file.
    """
    texts = await python_texts(crew, tree)
    failing = {test for test, _ in read_failure(state["brief"]["output"], texts).tests}
    found = await _searched(crew, ctx, key, tree, {}, suspect, texts, failing)
    if not found["edits"]:
        return None
    done = await run_check(crew, ctx, f"{key}.check", tree, state["check"], {suspect.path: found["source"]}, state)
    return {**done, "edits": found["edits"]}


async def nearer(
    crew: Crew, ctx: NodeContext, base: str, files: Mapping[str, str | None], failing: Collection[str]
) -> tuple[dict[str, str | None], int] | None:
    """Return the files of a change with one of them better by a few small edits, and how many; None if no edits help.

    What the change wrote or rewrote is edited, and judged by the test files `failing` and by those of the file.
    """
    before = await python_texts(crew, base)
    texts = {**before, **{path: text for path, text in files.items() if text is not None}}
    for number, (path, text) in enumerate(files.items()):
        earlier = before.get(path, "")
        if text is None or is_test(path) or not path.endswith(".py") or not (is_python(text) and is_python(earlier)):
            continue
        names = rewritten(earlier, text)
        if not names:
            continue
        suspect = Suspect(path, tuple(names), 1)
        found = await _searched(crew, ctx, f"near.{number}", base, files, suspect, texts, failing)
        if found["edits"]:
            return {**files, path: found["source"]}, found["edits"]
    return None


def origin(edits: int) -> str:
    """What a commit tells of a version that no model wrote as it is; empty without edits."""
    return f"\nSmall edits that were found by running versions: {edits}" if edits else ""


async def _searched(
    crew: Crew,
    ctx: NodeContext,
    key: str,
    tree: str,
    files: Mapping[str, str | None],
    suspect: Suspect,
    texts: Mapping[str, str],
    failing: Collection[str],
) -> dict[str, Any]:
    """Search on a tree with files laid over it. Journaled."""
    path = suspect.path
    tests = sorted(set(failing) & set(texts) | set(tests_of(path, texts)))

    async def search() -> dict[str, Any]:
        await crew.workspace.write(tree, files)
        return asdict(await crew.local_search(path, texts[path], tests, within=suspect.names))

    request = {"tool": "local_search", "tree": tree, "files": files, "tests": tests, "within": list(suspect.names)}
    found: dict[str, Any] = await ctx.step(key, search, kind="tool", request=request)
    if found["edits"]:
        ctx.log(f"{found['edits']} small edits: {found['failed']} tests fail, of {found['tried']} versions tried.")
    return found
