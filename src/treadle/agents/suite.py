"""Running all tests of a repository in the sandbox, and telling what became of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from treadle.ports.sandbox import Limits, Sandbox
from treadle.tools.test_runs import TestRun, run_tests

_WRONG_USE, _NO_TESTS = 4, 5


@dataclass(frozen=True, slots=True)
class Suite:
    """What became of the tests of a repository. Ids are those of pytest: `tests/test_cart.py::test_add[2]`."""

    passed: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    """Id to the essence of the failure. Of a file that could not be loaded the id is its path."""
    broken: str = ""
    """Why nothing is known of any test."""
    seconds: float = 0.0
    tree: str = ""
    """The files that it was run on."""

    def as_dict(self) -> dict[str, Any]:
        known = {"passed": sorted(self.passed), "failed": dict(self.failed)}
        return {**known, "broken": self.broken, "seconds": self.seconds}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Suite:
        passed, failed = frozenset(plain["passed"]), dict(plain["failed"])
        return cls(passed, failed, str(plain["broken"]), float(plain["seconds"]), plain.get("tree", ""))

    def worse_than(self, before: Suite) -> dict[str, str]:
        """Return what fails here and did not before, each with the essence of its failure."""
        if self.broken and not before.broken:
            return {"": self.broken}
        return {name: said for name, said in self.failed.items() if name not in before.failed}

    def case(self, file: str, owner: str, name: str) -> str | None:
        """Say of one test function: "" if it passed, else why not; None if it was not reached."""
        return self.of_id(f"{file}::{owner}::{name}" if owner else f"{file}::{name}")

    def of_id(self, id_: str) -> str | None:
        """Say the same of a test by its id; without parameters, of all that it is run with."""
        wrong = [said for one, said in self.failed.items() if id_ in (one, one.partition("[")[0])]
        is_known = any(id_ in (one, one.partition("[")[0]) for one in self.passed)
        return wrong[0] if wrong else "" if is_known else None

    def unloadable(self, file: str) -> str:
        """Say why a test file could not be loaded; empty if it could."""
        return next((said for one, said in self.failed.items() if _is_file(one, file)), "")

    def is_of(self, id_: str, file: str, names: Collection[str]) -> bool:
        """Tell whether an id is one of `names`, or of a test in the file that is, or of the file as a whole."""
        is_named = id_ in names or id_.partition("[")[0] in names
        return is_named or _is_file(id_, file) or (id_.startswith(f"{file}::") and _function(id_) in names)


async def run_suite(sandbox: Sandbox, limits: Limits, *, python_path: str = "", only: str = "") -> Suite:
    """Run pytest as the repository configures it, or `only` one file. Options that it does not know here go."""
    path = ["-o", f"pythonpath={python_path}"] if python_path else []
    run = TestRun("pytest", ())
    for options in ([], ["-o", "addopts="]):
        run = await run_tests(sandbox, "pytest", [*path, *options, *filter(None, [only])], limits)
        if run.result is None or run.result.exit_code != _WRONG_USE or run.cases:
            break
    if run.result is not None and run.result.timed_out:
        return Suite(broken=f"The tests did not end within {limits.wall_seconds:.0f} seconds; an endless loop?")
    failed = {case.name: case.told or "failed" for case in run.cases if case.state in ("failed", "error")}
    passed = {case.name for case in run.cases if case.state == "passed"}
    has_none = run.result is not None and run.result.exit_code == _NO_TESTS
    broken = "" if run.cases or has_none else run.broken
    seconds = round(run.result.seconds, 1) if run.result is not None else 0.0
    return Suite(frozenset(passed - set(failed)), failed, broken, seconds)


def _is_file(id_: str, file: str) -> bool:
    module = file.removesuffix(".py").replace("/", ".")
    return id_ in (file, module, f"{file}::{module}")


def _function(id_: str) -> str:
    return id_.partition("[")[0].rpartition("::")[2]
