"""The tool `run_tests`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Literal

import msgspec

from treadle.errors import NotFound, Refused
from treadle.ports.tool import ToolContext, ToolResult
from treadle.tools.define import tool
from treadle.tools.places import relative
from treadle.tools.shell import changed_between, limit_of
from treadle.tools.test_runs import RESULTS, TestRun, find_runner, run_command, run_tests

_SHOWN_FAILURES = 10


@tool(name="run_tests", effects="idempotent")
async def run_tests_tool(
    targets: list[str] | None = None,
    runner: Literal["auto", "pytest", "unittest", "node", "jest", "vitest", "cargo", "go"] = "auto",
    *,
    command: str | None = None,
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None,
    context: ToolContext,
) -> ToolResult:
    """Run tests, and show which failed and why.

    Args:
        targets: Files, folders or names of tests; left out: all tests.
        runner: What runs them; left out: what suits the files.
        command: For other runners: runs the tests, and prints JUnit XML, TAP or JSON.
        seconds: Stop after so long; left out: as long as it may take.
    """
    limits = context.limits
    if seconds:
        limits = replace(limits, wall_seconds=min(seconds, limits.wall_seconds))
    files = context.sandbox.files
    before = await files.stamps()
    places = [relative(target, context) for target in targets or ()]
    refused = [place for place in places if place.startswith("-")]
    if refused:
        return ToolResult(f"{refused[0]!r} is no test: it begins with a dash. Name files or tests.", is_error=True)
    chosen = await find_runner(files) if runner == "auto" else runner
    for place in places if chosen == "pytest" else ():
        await _refuse_missing(place.partition("::")[0], context)
    if command is not None:
        run = await run_command(context.sandbox, command, limits)
    else:
        run = await run_tests(context.sandbox, chosen, places, limits)
    changed = changed_between(before, await files.stamps())
    data = {
        "runner": run.runner,
        "passed": run.count("passed"),
        "failed": run.count("failed", "error"),
        "skipped": run.count("skipped"),
        "broken": run.broken,
        "cases": [asdict(case) for case in run.cases],
    }
    return ToolResult(
        told(run),
        is_error=not run.is_passed,
        exit_code=run.result.exit_code if run.result else None,
        data=data,
        changed=tuple(path for path in changed if path != RESULTS),
    )


async def _refuse_missing(path: str, context: ToolContext) -> None:
    """Small models make up names of tests: tell of it before a runner does, in many words."""
    try:
        await context.sandbox.files.list(path)
    except NotFound:
        raise NotFound(f"There is no {path!r} to test.", hint="Leave out `targets` to run all tests.") from None
    except Refused:
        return  # it is a file


def told(run: TestRun) -> str:
    """What a run came to, for a model: the counts, then each failure."""
    wrong = [case for case in run.cases if case.state in ("failed", "error")]
    counts = [f"{run.count('passed')} passed", f"{len(wrong)} failed"]
    if run.count("skipped"):
        counts.append(f"{run.count('skipped')} skipped")
    parts = [f"{', '.join(counts)} ({run.runner})"]
    if run.broken and not wrong:
        parts.append(f"No test could run:\n{run.broken}")
    parts += [f"{case.state.upper()} {case.name}\n{case.told}" for case in wrong[:_SHOWN_FAILURES]]
    if len(wrong) > _SHOWN_FAILURES:
        parts.append("Also failed: " + ", ".join(case.name for case in wrong[_SHOWN_FAILURES:]))
    if run.cases and run.result is not None and not run.result.timed_out and (why := limit_of(run.result)):
        parts.append(f"The run did not come to its end: {why}.")
    elif not wrong and not run.broken and not run.is_passed and run.result is not None:
        parts.append(
            f"The runner ended with exit code {run.result.exit_code} all the same:\n{run.result.stderr[-1000:]}"
        )
    return "\n\n".join(part.strip() for part in parts)
