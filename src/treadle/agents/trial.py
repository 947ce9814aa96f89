"""Running tests and commands on a tree in the sandbox, and boiling down what they say to its essence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from treadle.ports.sandbox import ExecResult, Limits, Sandbox
from treadle.tools.reports import Case, essence
from treadle.tools.shell import refusals
from treadle.tools.test_runs import RESULTS, run_pytest

__all__ = ["RESULTS", "Outcome", "essence", "run_command", "run_tests"]

_MAX_HANGS = 3
_OPTIONS = ("-c", "/dev/null")
"""No configuration that the code under test could have written."""
_STARTED = re.compile(r"^\S+::(\w+)(?:\[.*\])? ?(PASSED|FAILED|ERROR|SKIPPED)?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each test. A test that is in neither was not reached."""

    passed: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    """Test to the essence of its failure."""
    broken: str = ""
    """Why no test could run at all, e.g. the module does not import."""

    def as_dict(self) -> dict[str, Any]:
        return {"passed": sorted(self.passed), "failed": dict(self.failed), "broken": self.broken}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Outcome:
        return cls(frozenset(plain["passed"]), dict(plain["failed"]), str(plain["broken"]))


async def run_tests(sandbox: Sandbox, file: str, limits: Limits) -> Outcome:
    """Run one pytest file of the sandbox's workspace. A test that never ends fails, and the others still run.

    A test passes only if pytest itself reports it; a process that ends early passes nothing.
    """
    hung: dict[str, str] = {}
    seconds = limits.wall_seconds
    outcome = Outcome()
    for _ in range(_MAX_HANGS + 1):
        options = [*_OPTIONS, *(f"--deselect={file}::{name}" for name in sorted(hung))]
        bounds = replace(limits, wall_seconds=seconds)
        result, cases = await run_pytest(sandbox, [file], bounds, options=options, plugins=False)
        if not result.timed_out:
            outcome = _outcome(cases, result)
            break
        started = _STARTED.findall(result.stdout)
        culprit = next((name for name, state in reversed(started) if not state), "")
        if not culprit:
            return Outcome(broken=f"Nothing happened within {seconds:.0f} seconds; an endless loop on import?")
        hung[culprit] = f"did not end within {seconds:.0f} seconds; an endless loop?"
        seconds = max(5.0, seconds / 2)
    return Outcome(outcome.passed - set(hung), {**outcome.failed, **hung}, outcome.broken)


async def run_command(sandbox: Sandbox, command: str, limits: Limits) -> dict[str, Any]:
    """Run a shell command of the user's in the workspace; the result is plain and holds the essence of its output."""
    env = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    result = await sandbox.exec(["sh", "-c", command], limits=limits, env=env)
    output = (result.stdout + "\n" + result.stderr).strip()
    if result.timed_out:
        output += f"\n(did not end within {limits.wall_seconds:.0f} seconds)"
    told: dict[str, Any] = {
        "ok": result.exit_code == 0,
        "exit_code": result.exit_code,
        "output": "\n".join([output[-20_000:], *refusals(result)]),
        "seconds": result.seconds,
    }
    return told | ({"network": [asdict(contact) for contact in result.contacts]} if result.contacts else {})


def _outcome(cases: Sequence[Case] | None, result: ExecResult) -> Outcome:
    if cases is None:
        return Outcome(broken=essence(result.stdout + "\n" + result.stderr) or f"Exit code {result.exit_code}.")
    passed, failed, broken = set(), {}, ""
    for case in cases:
        name = case.function.partition("[")[0]
        if case.state in ("failed", "error"):
            if name:
                failed[name] = case.told
            else:
                broken = case.told
        elif case.state == "passed":
            passed.add(name)
    return Outcome(frozenset(passed - set(failed)), failed, broken)
