"""Running the real command line in processes of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SRC = Path(__file__).parents[2] / "src"
GRAPHS = Path(__file__).with_name("graphs.py")
SECONDS = 60

SLUG = "import re\n\n\ndef slugify(text):\n    return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')\n"
WRONG_SLUG = SLUG.replace(".strip('-')", ".strip('-') + '!'")
ASSERTIONS = """\
assert slugify('Hello World') == 'hello-world'  # words
assert slugify('a b c') == 'a-b-c'  # letters
assert slugify('  A! ') == 'a'  # marks
assert slugify('') == ''  # empty
"""


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Its stdout as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Commands:
    """Runs `treadle` in one folder."""

    folder: Path
    env: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    prefix: tuple[str, ...] = ()
    """What every command is run by."""

    def __call__(self, *arguments: str, cwd: Path | None = None, **env: str) -> Done:
        return self.run(sys.executable, "-m", "treadle", *arguments, cwd=cwd, **env)

    def run(self, *command: str, cwd: Path | None = None, **env: str) -> Done:
        """Run any command where `treadle` runs."""
        done = subprocess.run(
            [*self.prefix, *command], capture_output=True, text=True, timeout=SECONDS,
            cwd=cwd or self.folder, env=self.env | env, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command without waiting for it; it is killed when the test ends."""
        process = subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "treadle", *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, bufsize=1,
            preexec_fn=_hear_ctrl_c,
        )  # fmt: skip
        self.started.append(process)
        return process

    def latest(self) -> Any:
        """The latest run, as `status --json` tells it."""
        return self("status", "--json").json

    def events(self) -> list[Any]:
        return self("events", "--json").lines

    def script(self, *rules: tuple[str, str], seconds: float = 0.0) -> str:
        """Write a script for a scripted model and return the provider that names it."""
        written = [{"when": when, "reply": f"```python\n{reply}```", "seconds": seconds} for when, reply in rules]
        self.write("script.json", json.dumps(written))
        return "scripted:script.json"

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder."""
        (self.folder / name).write_text(text)

    def good_script(self, *, seconds: float = 0.0) -> str:
        """A script that solves the goal of a slug at once."""
        rules = [("Check that", ASSERTIONS), ("It is wrong", SLUG), ("complete file `slug.py`", SLUG)]
        return self.script(*rules, seconds=seconds)


def _hear_ctrl_c() -> None:
    """Undo what a shell does to jobs in the background, e.g. `make test &`: they, and ours, would ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(process: subprocess.Popen[str], text: str) -> str:
    """Read a process's stderr up to a line that has the text; returns all that was read."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if text in line:
            return read
    raise AssertionError(f"{text!r} never came; it said:\n{read}")
