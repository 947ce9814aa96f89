"""How much of a file its tests run: lines reached of lines that can be reached. Traced with the standard library."""

from __future__ import annotations

import re
import secrets

from treadle.ports.sandbox import Limits, Sandbox

_RUNNER = """
import os, sys, threading

name, tests, word = sys.argv[1:4]
place = os.path.realpath(name)
reached = set()
known = {}

def follow(frame, event, argument):
    if event == "line":
        reached.add(frame.f_lineno)
    return follow

def watch(frame, event, argument):
    file = frame.f_code.co_filename
    if file not in known:
        known[file] = os.path.realpath(file) == place
    if known[file]:
        reached.add(frame.f_lineno)
        return follow

def lines_of(code):
    yield from (line for _, _, line in code.co_lines() if line)
    for inner in code.co_consts:
        if hasattr(inner, "co_lines"):
            yield from lines_of(inner)

with open(place, encoding="utf-8") as file:
    lines = set(lines_of(compile(file.read(), place, "exec")))
import pytest
threading.settrace(watch)
sys.settrace(watch)
pytest.main(["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", tests])
sys.settrace(None)
print(f"\\n{word} {len(reached & lines)} {len(lines)}")
"""


async def measure(sandbox: Sandbox, tests: str, file: str, limits: Limits) -> float | None:
    """Run a pytest file of the workspace and return the share of the lines of `file` that it reaches, from 0 to 1.

    None if it cannot be told. Only what runs in the process of the tests counts: a program that its tests start as
    processes of its own is reached by none of them.
    """
    word = f"reached-{secrets.token_hex(8)}"
    argv = ["python", "-c", _RUNNER, file, tests, word]
    env = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    result = await sandbox.exec(argv, limits=limits, env=env)
    found = re.search(rf"^{word} (\d+) (\d+)$", result.stdout, re.MULTILINE)
    if found is None or not int(found[2]):
        return None
    return round(int(found[1]) / int(found[2]), 3)
