"""Running tests and commands on a tree in the sandbox, and boiling down what they say to its essence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

from treadle.ports.sandbox import ExecResult, Limits, Sandbox

RESULTS = ".treadle-results.xml"
_MAX_RESULTS_BYTES = 2_000_000
_MAX_HANGS = 3
_ENV = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}
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
        result = await _pytest(sandbox, file, sorted(hung), replace(limits, wall_seconds=seconds))
        if not result.timed_out:
            outcome = _read_results(sandbox, result)
            break
        started = _STARTED.findall(result.stdout)
        culprit = next((name for name, state in reversed(started) if not state), "")
        if not culprit:
            return Outcome(broken=f"Nothing happened within {seconds:.0f} seconds; an endless loop on import?")
        hung[culprit] = f"did not end within {seconds:.0f} seconds; an endless loop?"
        seconds = max(5.0, seconds / 2)
    return Outcome(outcome.passed - set(hung), {**outcome.failed, **hung}, outcome.broken)


async def _pytest(sandbox: Sandbox, file: str, without: Sequence[str], limits: Limits) -> ExecResult:
    (sandbox.workspace / RESULTS).unlink(missing_ok=True)
    command = ["python", "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=."]
    # Without a limit of its own, pytest lists the folders above the workspace, which a sandbox may forbid.
    command.append("--confcutdir=.")
    command += [f"--junit-xml={RESULTS}", *(f"--deselect={file}::{name}" for name in without), file]
    return await sandbox.exec(command, limits=limits, env=_ENV)


async def run_command(sandbox: Sandbox, command: str, limits: Limits) -> dict[str, Any]:
    """Run a shell command of the user's in the workspace; the result is plain and holds the essence of its output."""
    env = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    result = await sandbox.exec(["sh", "-c", command], limits=limits, env=env)
    output = (result.stdout + "\n" + result.stderr).strip()
    if result.timed_out:
        output += f"\n(did not end within {limits.wall_seconds:.0f} seconds)"
    return {
        "ok": result.exit_code == 0,
        "exit_code": result.exit_code,
        "output": output[-20_000:],
        "seconds": result.seconds,
    }


def _read_results(sandbox: Sandbox, result: ExecResult) -> Outcome:
    """Read the report that pytest left. The code under test could have written to it, so it is read with care."""
    place = sandbox.workspace / RESULTS
    try:
        if place.is_symlink() or place.stat().st_size > _MAX_RESULTS_BYTES:
            return Outcome(broken="The tests left no readable report.")
        root = ElementTree.fromstring(place.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ElementTree.ParseError):
        return Outcome(broken=essence(result.stdout + "\n" + result.stderr) or f"Exit code {result.exit_code}.")
    passed, failed, broken = set(), {}, ""
    for case in root.iter("testcase"):
        name = (case.get("name") or "").partition("[")[0]
        wrong = next((child for child in case if child.tag in ("failure", "error")), None)
        if wrong is not None and not case.get("classname"):
            broken = essence(wrong.text or wrong.get("message") or "")
        elif wrong is not None:
            failed[name] = essence(wrong.text or wrong.get("message") or "failed")
        elif not any(child.tag == "skipped" for child in case):
            passed.add(name)
    return Outcome(frozenset(passed - set(failed)), failed, broken)


def essence(output: str, *, lines: int = 12) -> str:
    """Keep what tells why something failed: the lines that pytest marks with E, or else the end."""
    marked = [line[2:].strip() for line in output.splitlines() if line.startswith("E ")]
    marked = [line for line in marked if line and not line.startswith("?")]  # the carets of a diff
    if marked:
        return "\n".join(_shorten(line) for line in marked[:lines])
    kept = [line.rstrip() for line in output.splitlines() if line.strip() and not re.fullmatch(r"[=_\-~^ .]+", line)]
    return "\n".join(_shorten(line) for line in kept[-lines:])


def _shorten(line: str, width: int = 200) -> str:
    return line if len(line) <= width else line[: width - 20] + " … " + line[-15:]
