"""What the hidden checks of programs share: run one in a folder of its own."""

import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent


class Program:
    """A program beside this file, run in a fresh folder."""

    def __init__(self, file):
        self.script = _HERE / file
        self.folder = Path(tempfile.mkdtemp())

    def __call__(self, *args, stdin="", fails=False):
        """Return what it says on stdout; with `fails`, want a non-zero exit code and no crash, and return stderr."""
        command = [sys.executable, str(self.script), *args]
        done = subprocess.run(command, cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=10)
        assert "Traceback" not in done.stderr, (args, done.stderr[-300:])
        assert (done.returncode != 0) == fails, (args, done.returncode, done.stdout[-200:], done.stderr[-200:])
        return done.stderr if fails else done.stdout

    def write(self, name, text):
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
