"""Local search: of the versions that are one small edit away, take the one that passes most tests; and so on.

Nobody is asked, so it costs no tokens (after GenProg). It is for tests that somebody gave, which say truly when a
version is right, and not for those that a model made up.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from treadle.agents.small_edits import small_edits
from treadle.ports.sandbox import Limits, Sandbox

_RUNNER = """
import json, os, signal, sys, time

word, file, seconds, whole, options = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]
sys.dont_write_bytecode = True
import pytest
import _pytest.assertion.rewrite, _pytest.unittest, _pytest.python, unittest

needless = ("cacheprovider", "faulthandler", "junitxml", "doctest", "warnings", "unraisableexception",
    "threadexception", "pastebin", "stepwise", "setuponly", "setupplan", "legacypath")
quick = ["-q", "--tb=no", "--assert=plain", *(word for name in needless for word in ("-p", f"no:{name}"))]

class Count:
    def __init__(self):
        self.passed, self.wrong = 0, 0

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.passed += 1
        elif report.failed:
            self.wrong += 1

    def pytest_collectreport(self, report):
        self.wrong += report.failed

def run(pipe):
    signal.alarm(max(1, round(seconds)))
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    count = Count()
    pytest.main([*quick, *options], plugins=[count])
    os.write(pipe, json.dumps([count.passed, count.wrong]).encode())
    os._exit(0)

began, results = time.monotonic(), []
for source in json.load(sys.stdin):
    if time.monotonic() - began > whole:
        break
    with open(file, "w", encoding="utf-8") as out:
        out.write(source)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        run(theirs)
    os.close(theirs)
    with open(ours, "rb") as told:
        said = told.read(100)
    os.waitpid(child, 0)
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass
    results.append(json.loads(said) if said else [0, 1])
    if results[-1][0] and not results[-1][1]:
        break
print(f"\\n{word} {json.dumps(results)}")
"""
_LEVELS = 3
"""Edits, one upon the other."""
_SECONDS_EACH = 2.0
_FEWEST_TESTS = 3
"""One or two tests are passed by versions that are right in nothing else, if enough versions are run."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a search ended."""

    source: str
    passed: int
    failed: int
    tried: int
    """Versions that were run."""
    edits: int
    """Between the source at the end and that at the beginning."""


async def local_search(
    sandbox: Sandbox,
    file: str,
    source: str,
    tests: Sequence[str],
    limits: Limits,
    *,
    seconds: float,
    within: Collection[str] = (),
) -> Found:
    """Look for a version of a file of the workspace that passes more of the `tests`, options and files for pytest.

    It is searched for at most `seconds`, in the functions `within` if any are named. What was tried last is left in the
    file.
    """
    ends = time.monotonic() + seconds

    async def run(sources: Sequence[str]) -> list[tuple[int, int]]:
        left = ends - time.monotonic()
        return await _run(sandbox, file, sources, tests, limits, left) if left > 1 else []

    first = await run([source])
    if not first:
        return Found(source, 0, 0, 0, 0)
    best, tried = Found(source, *first[0], tried=1, edits=0), 1
    while best.failed and best.passed + best.failed >= _FEWEST_TESTS and best.edits < _LEVELS:
        versions = list(small_edits(best.source, within))
        found = await run(versions)
        tried += len(found)
        counted = [(passed, -failed) for passed, failed in found]
        top = max(range(len(found)), key=counted.__getitem__, default=None)
        if top is None or counted[top] <= (best.passed, -best.failed):
            break
        best = Found(versions[top], *found[top], tried=tried, edits=best.edits + 1)
    return replace(best, tried=tried)


async def _run(
    sandbox: Sandbox, file: str, sources: Sequence[str], tests: Sequence[str], limits: Limits, seconds: float
) -> list[tuple[int, int]]:
    """How many tests each source passes and fails, of as many sources as time allows."""
    word = f"searched-{secrets.token_hex(8)}"
    argv = ["python", "-c", _RUNNER, word, file, str(_SECONDS_EACH), str(seconds), *tests]
    env = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    bounds = replace(limits, wall_seconds=seconds + 2 * _SECONDS_EACH)
    result = await sandbox.exec(argv, limits=bounds, env=env, stdin=json.dumps(list(sources)).encode())
    found = re.search(rf"^{word} (.+)$", result.stdout, re.MULTILINE)
    return [(passed, failed) for passed, failed in json.loads(found[1])] if found else []
