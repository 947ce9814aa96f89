"""Running tests in the sandbox: which runner a workspace has, how it is started, and what it reports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from treadle.errors import NotFound, Refused
from treadle.ports.sandbox import ExecResult, Files, Limits, Sandbox
from treadle.tools.reports import (
    Case,
    essence,
    read_any,
    read_cargo,
    read_go,
    read_jest,
    read_junit,
    read_started,
    read_unittest,
)
from treadle.tools.shell import limit_of

Runner = Literal["pytest", "unittest", "node", "jest", "vitest", "cargo", "go"]

RESULTS = ".treadle-results.xml"
"""Where runners leave their report in the workspace, for as long as it takes to read it."""
ENV = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "NO_COLOR": "1", "RUST_BACKTRACE": "0"}
_LACKS_PLUGIN = re.compile(
    r"async def functions are not natively supported|error: unrecognized arguments|fixture '\w+' not found"
)
"""What pytest says without plugins where tests need them. Loading all that are installed can take seconds."""
_LARGEST_REPORT = 2_000_000
_MARKS: tuple[tuple[str, Runner], ...] = (("Cargo.toml", "cargo"), ("go.mod", "go"), ("package.json", "node"))


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a run of tests came to."""

    __test__ = False  # no test of pytest's, though it is called so

    runner: Runner | Literal["other"]
    cases: tuple[Case, ...]
    broken: str = ""
    """Why no test could run at all."""
    result: ExecResult | None = None

    def count(self, *states: str) -> int:
        return sum(case.state in states for case in self.cases)

    @property
    def is_passed(self) -> bool:
        """Tests ran, and none went wrong, also by the runner's own word."""
        ended_well = self.result is not None and self.result.exit_code == 0
        return ended_well and not self.broken and not self.count("failed", "error") and bool(self.cases)


async def run_tests(sandbox: Sandbox, runner: Runner, targets: Sequence[str], limits: Limits) -> TestRun:
    """Run tests and read what the runner reports. A test counts as passed only if the runner itself says so.

    Args:
        targets: Files, folders or names of tests, as the runner takes them; none: all.

    Raises:
        SandboxUnavailable: The sandbox failed to start.
    """
    if runner == "pytest":
        return await _run_pytest(sandbox, targets, limits)
    command, read = _OTHERS[runner]
    result = await sandbox.exec([*command, *targets], limits=limits, env=ENV)
    return _run(runner, _inside(read(result), sandbox), result, limits)


async def run_command(sandbox: Sandbox, command: str, limits: Limits) -> TestRun:
    """Run tests by a command of the shell, and read what it prints: JUnit XML, TAP, JSON of jest or go, and the like.

    Raises:
        SandboxUnavailable: The sandbox failed to start.
    """
    result = await sandbox.exec(["sh", "-c", command], limits=limits, env=ENV)
    return _run("other", _inside(read_any(result.stdout) or read_any(result.stderr), sandbox), result, limits)


def _inside(cases: Sequence[Case], sandbox: Sandbox) -> list[Case]:
    """The cases with their files relative to the workspace."""
    roots = [f"{root}/" for root in ("/workspace", sandbox.workspace)]
    names = [min((case.name.removeprefix(root) for root in roots), key=len) for case in cases]
    return [replace(case, name=name) for case, name in zip(cases, names, strict=True)]


async def run_pytest(
    sandbox: Sandbox, targets: Sequence[str], limits: Limits, *, options: Sequence[str] = (), plugins: bool = True
) -> tuple[ExecResult, list[Case] | None]:
    """Run pytest once; returns what it reported, or None if it left no report that can be read."""
    await _remove_results(sandbox.files)
    # Without a limit of its own, pytest lists the folders above the workspace, which a sandbox may forbid.
    command = ["python", "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", "--rootdir=.", "--confcutdir=."]
    command += [f"--junit-xml={RESULTS}", "-o", "junit_family=xunit1", *options, *targets]
    env = ENV if plugins else {**ENV, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    result = await sandbox.exec(command, limits=limits, env=env)
    try:
        return result, read_junit(await _results(sandbox.files))
    except ValueError:
        return result, None
    finally:
        await _remove_results(sandbox.files)


async def find_runner(files: Files) -> Runner:
    """The runner that the files of a workspace are for: pytest, unless a file at the top says otherwise."""
    names = {entry.path for entry in (await files.list()).entries}
    found: Runner = next((runner for mark, runner in _MARKS if mark in names), "pytest")
    if found != "node":
        return found
    try:
        package = json.loads((await files.read("package.json", limit=_LARGEST_REPORT)).data)
        known = {*package.get("devDependencies", ()), *package.get("dependencies", ())}
    except (ValueError, RecursionError, TypeError, AttributeError, Refused, NotFound):  # it says nothing of use
        return found
    return "vitest" if "vitest" in known else "jest" if "jest" in known else found


async def _run_pytest(sandbox: Sandbox, targets: Sequence[str], limits: Limits) -> TestRun:
    result, cases = await run_pytest(sandbox, targets, limits, plugins=False)
    if _LACKS_PLUGIN.search(result.stdout + result.stderr):
        result, cases = await run_pytest(sandbox, targets, limits)
    if "No module named pytest" in result.stderr:
        return await run_tests(sandbox, "unittest", targets, limits)
    if cases is None and result.timed_out:
        cases = []
        for name, state in read_started(result.stdout):
            told = "" if state else f"did not end within {limits.wall_seconds:g} seconds; an endless loop?"
            cases.append(Case(name, state or "failed", told=told))
    return _run("pytest", cases or [], result, limits)


def _run(runner: Runner | Literal["other"], cases: Sequence[Case], result: ExecResult, limits: Limits) -> TestRun:
    unread = [case for case in cases if not case.function and case.state == "error"]
    broken = "\n".join(case.told for case in unread)
    if not cases:
        broken = essence(result.stdout + "\n" + result.stderr) or f"Exit code {result.exit_code}, and no test ran."
        if result.timed_out:
            broken = f"Nothing ended within {limits.wall_seconds:g} seconds. {broken}"
        elif why := limit_of(result):
            broken = f"No test came to its end: {why}. {broken}"
    return TestRun(runner, tuple(cases), broken, result)


async def _results(files: Files) -> str:
    try:
        found = await files.read(RESULTS, limit=_LARGEST_REPORT)
    except (NotFound, Refused) as error:
        raise ValueError(str(error)) from error
    if found.size > len(found.data):
        raise ValueError("The report is too large.")
    return found.data.decode(errors="replace")


async def _remove_results(files: Files) -> None:
    try:
        await files.remove(RESULTS)
    except (NotFound, Refused):  # not there; or a folder, which then is no report
        pass


def _read_node(result: ExecResult) -> list[Case]:
    try:
        return read_junit(result.stdout)
    except ValueError:
        return []


_OTHERS: dict[Runner, tuple[tuple[str, ...], Callable[[ExecResult], list[Case]]]] = {
    "unittest": (("python", "-m", "unittest", "-v"), lambda result: read_unittest(result.stderr)),
    "node": (("node", "--test", "--test-reporter=junit"), _read_node),
    "jest": (("npx", "--no-install", "jest", "--ci", "--json"), lambda result: read_jest(result.stdout)),
    "vitest": (("npx", "--no-install", "vitest", "run", "--reporter=json"), lambda result: read_jest(result.stdout)),
    "cargo": (("cargo", "test", "--no-fail-fast", "--offline"), lambda result: read_cargo(result.stdout)),
    "go": (("go", "test", "-json", "./..."), lambda result: read_go(result.stdout)),
}
