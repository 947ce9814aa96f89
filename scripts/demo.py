"""Build a small real project with a local model, and judge it with a check of the demo's own. Run it with `make demo`.

More words are handed to `treadle build`, e.g. `make demo ARGS="--model qwen2.5-coder:1.5b --verbose"`.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREADLE = Path(sys.executable).parent / "treadle"
GOAL = "slug.py with slugify(text) and tests"

# What anyone would expect of a slug, and no more: the model writes its own tests, this one is ours and does not change.
CHECK = """\
import string
from slug import slugify
for text, expected in [("Hello World", "hello-world"), ("Treadle", "treadle"), ("one two three", "one-two-three")]:
    got = slugify(text)
    assert got == expected, f"slugify({text!r}) returned {got!r}, expected {expected!r}"
for text in ["  Hello, World!  ", "C++ & Python: 100% fun?", "-- already-a-slug --", "MiXeD CaSe 42"]:
    got = slugify(text)
    assert got and set(got) <= set(string.ascii_lowercase + string.digits + "-"), \\
        f"slugify({text!r}) returned {got!r}: only a-z, 0-9 and hyphens belong in a slug"
    assert got == got.strip("-"), f"slugify({text!r}) returned {got!r}: it must not start or end with a hyphen"
print("the demo's own check passed")
"""


def main(arguments: Sequence[str]) -> int:
    """Run one build in a fresh folder and return its exit code."""
    folder = fresh_folder(Path.cwd())
    check = f"python -c {shlex.quote(CHECK)}"
    shown = f"treadle build {shlex.quote(GOAL)} --out ./{folder.name}/ --check '<the check in scripts/demo.py>'"
    print(" ".join([f"$ {shown}", *map(shlex.quote, arguments)]), file=sys.stderr, flush=True)
    started = time.monotonic()
    command = [str(TREADLE), "build", GOAL, "--out", f"./{folder.name}/", "--check", check]
    code = wait_for([*command, *arguments])
    report(folder, code, time.monotonic() - started)
    return code


def fresh_folder(parent: Path) -> Path:
    """Return the first demo-N that nothing has taken."""
    return next(path for n in itertools.count(1) if not os.path.lexists(path := parent / f"demo-{n}"))


def wait_for(command: Sequence[str]) -> int:
    """Run the command on this terminal. It gets Ctrl-C itself; it is waited for, so that it can stop cleanly."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                continue


def report(folder: Path, code: int, seconds: float) -> None:
    """Say how it ended. Tokens and the state of the repository are in what the build itself printed."""
    if code:
        print(f"\nThe demo's build ended with exit code {code} after {seconds:.0f} s.", file=sys.stderr)
        suggest(
            ("treadle debug", "every prompt, reply and test output, and why it failed"),
            ("treadle resume", "go on, if it was stopped"),
        )
        return
    done = f"Demo done in {seconds:.0f} s: ./{folder.name}/ is a git repository whose tests and our check pass."
    print(f"\n{done}", file=sys.stderr)
    suggest(
        (f"git -C {folder.name} log --stat", "what was committed, and which model wrote it"),
        ("treadle debug", "every prompt, reply and test output"),
        ('treadle build "a command-line todo app that stores tasks in a JSON file" --out ./todo', ""),
    )


def suggest(*commands: tuple[str, str]) -> None:
    """Say what to type next; where `treadle` is not found, how to make the shell find it comes first."""
    found = [] if shutil.which("treadle") else [(f'export PATH="{TREADLE.parent}:$PATH"', "")]
    for command, does in [*found, *commands]:
        print(f"  {command:<40}{'# ' if does else ''}{does}".rstrip(), file=sys.stderr)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
