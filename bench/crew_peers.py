"""aider and mini-swe-agent on the goals of `bench crew`, with the same model and the same judge.

Each is installed from PyPI, at a pinned version, into a virtual environment of its own in the cache folder, on first
use. Each talks to the model through `bench.door`, which counts its tokens and ends what exceeds the limits below. What
the model wrote runs in a sandbox for peers too: aider's tests, and mini-swe-agent's commands.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.crew_goals import DevGoal, judge, lay_out, read_files
from bench.door import Door
from treadle.ports.model import Model
from treadle.settings import load_settings

VERSIONS = {"aider": ("aider-chat", "0.86.2"), "mini-swe-agent": ("mini-swe-agent", "2.4.6")}
MOST_TOKENS = 40_000
"""Of one goal, prompts and answers: several times what a build here takes."""
ANSWER_TOKENS = 1200
STEPS = 15
"""Of mini-swe-agent; aider repairs three times by itself."""
SECONDS = 1800.0
_PYTHON_PATH = os.pathsep.join(os.path.abspath(path) for path in sys.path)
_Command = tuple[list[str], dict[str, str]]


def peer(name: str) -> Callable[[DevGoal, Model, argparse.Namespace, int], Awaitable[dict[str, Any]]]:
    """Return what attempts a goal in the manner of `bench.crew.attempt`."""

    async def attempt(goal: DevGoal, model: Model, options: argparse.Namespace, seed: int) -> dict[str, Any]:
        home = await asyncio.to_thread(_installed, name)
        began = time.perf_counter()
        door = Door(model, options.model, most_tokens=MOST_TOKENS, answer_tokens=ANSWER_TOKENS)
        with tempfile.TemporaryDirectory(prefix="treadle-peer-") as folder:
            place = Path(folder) / "work"
            place.mkdir()
            lay_out(place, goal.given)
            async with door.open():
                command, more = (_aider if name == "aider" else _mini)(home, goal, place, door.url)
                said = await _run(command, place, Path(folder), more)
            files = read_files(place)
        seconds = time.perf_counter() - began
        accepted, why = await judge(goal, files)
        changed = {path: text for path, text in files.items() if goal.given.get(path) != text}
        return {
            "goal": goal.name,
            "size": goal.size,
            "model": options.model,
            "who": options.label,
            "seed": seed,
            "version": VERSIONS[name][1],
            "claimed": not door.is_shut and (name == "aider" or "'exit_status': 'Submitted'" in said),
            "accepted": accepted,
            "solved": accepted,
            "seconds": round(seconds, 1),
            "model_seconds": round(door.seconds, 1),
            "tokens": door.spent,
            "calls": door.calls,
            "reason": said[-600:],
            "said": "" if accepted else why[-300:],
            "texts": {path: text for path, text in changed.items() if path.endswith(".py")},
        }

    return attempt


def task_of(goal: DevGoal) -> str:
    """What a peer is told: the goal, and the check where there is one."""
    if not goal.given:
        return goal.text
    return f"{goal.text}\n\nThe goal is met when `{goal.check}` passes. Leave the given tests as they are."


def _aider(home: Path, goal: DevGoal, place: Path, url: str) -> _Command:
    """Everything in one message, whole files as answers, tests run and shown to it after each."""
    command = [
        str(home / "bin" / "aider"),
        "--model",
        "openai/local",
        "--openai-api-base",
        url,
        "--openai-api-key",
        "no",
    ]
    command += ["--edit-format", "whole", "--yes-always", "--no-stream", "--no-pretty", "--no-git", "--no-auto-commits"]
    command += ["--no-check-update", "--no-show-release-notes", "--analytics-disable", "--no-show-model-warnings"]
    command += ["--no-suggest-shell-commands", "--no-detect-urls", "--no-gitignore", "--map-tokens", "0"]
    command += ["--max-chat-history-tokens", "8000"]  # or it would spend a question on summing up
    command += ["--message", task_of(goal)]
    if goal.given:
        check = f"PYTHONPATH={_PYTHON_PATH} {sys.executable} -m bench.in_sandbox '{goal.check}'"
        command += ["--auto-test", "--test-cmd", check]
        for path in goal.tests:
            command += ["--read", path]
    wanted = [path for path in goal.given if path.endswith(".py") and path not in goal.tests]
    return [*command, *(wanted if len(wanted) <= 3 else ())], {}


def _mini(home: Path, goal: DevGoal, place: Path, url: str) -> _Command:
    """Its own loop of answers in text and bash commands, with its own prompts."""
    told = {"task": task_of(goal), "folder": str(place), "url": url, "steps": STEPS, "python": sys.executable}
    told["python_path"] = _PYTHON_PATH
    driver = Path(__file__).parent / "crew_mini.py"
    return [str(home / "bin" / "python"), str(driver)], {"MINI_TASK": json.dumps(told)}


async def _run(command: list[str], place: Path, folder: Path, more: dict[str, str]) -> str:
    """Run a peer with a home of its own, and return the end of what it said."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    env = {**kept, "HOME": str(folder), "NO_PROXY": "127.0.0.1", "OPENAI_API_KEY": "no", **more}
    env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would look for prices on the internet
    env |= {"MSWEA_CONFIGURED": "true", "MSWEA_SILENT_STARTUP": "1", "MSWEA_COST_TRACKING": "ignore_errors"}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=place,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        out, _ = await process.communicate()
    return out.decode(errors="replace")


def _installed(name: str) -> Path:
    """Return the virtual environment of a peer; make it first, if it is not there."""
    package, version = VERSIONS[name]
    home = load_settings(Path.cwd()).model.cache_dir.parent / "bench" / f"{name}-{version}"
    if not (home / "ready").exists():
        print(f"Installing {package} {version} into {home} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", "-q", f"{package}=={version}"], check=True)
        (home / "ready").touch()
    return home
