"""Treadle's side of the process that launchers are forked from: one for each process of ours, started when needed.

A new interpreter takes ten times as long as a fork of one that has loaded all it needs. Nothing of a call is ever in
the server: it hands six descriptors on to the fork, which reads from them what to do.
"""

from __future__ import annotations

import atexit
import io
import marshal
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from treadle.sandboxes._process import Pipes, Started, memory_file, readable

_START = """
import sys
for name, folder in zip(("treadle", "treadle.sandboxes"), sys.argv[2:]):
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [folder]
from treadle.sandboxes._launcher import serve
serve(int(sys.argv[1]))
"""
"""Packages without their `__init__`: the launcher's start must not depend on what those import."""
_FOLDERS = (str(Path(__file__).parents[1]), str(Path(__file__).parent))
_SIGKILL = 9


class _Server:
    """Forks a launcher for each request. Safe to use from any thread."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a fork of our process: the server is the parent's."""
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def request(self, descriptors: Sequence[int]) -> None:
        """Have a launcher forked that gets these.

        Raises:
            OSError: The server cannot be started.
        """
        with self._lock:
            try:
                socket.send_fds(self._channel or self._begin(), [b"l"], descriptors)
            except (BrokenPipeError, ConnectionError):  # it was killed
                self._stop()
                socket.send_fds(self._begin(), [b"l"], descriptors)

    def stop(self) -> None:
        """End the server; launchers that run go on. Idempotent."""
        with self._lock:
            self._stop()

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    (sys.executable, "-I", "-S", "-c", _START, str(theirs.fileno()), *_FOLDERS),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        self._channel = ours
        return ours

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.wait()
            self._process = None


_server = _Server()
os.register_at_fork(after_in_child=_server.forget)
atexit.register(_server.stop)


class Launcher:
    """One launcher: what `run_child` starts, and what was started. It hangs on a pipe, and reports by another.

    It stops when something comes over the first, its leash, and when our end closes because Treadle has died.
    """

    def __init__(self, spec: Mapping[str, Any], pipes: Pipes | None, end_seconds: float) -> None:
        self.pipes = pipes
        self.end_seconds = end_seconds
        self._spec = spec
        self._said = b""

    def start(self, stdin: int, stdout: int, stderr: int) -> Started:
        """Have it forked."""
        self._status, status_end = os.pipe()
        leash_end, self._leash = os.pipe()
        spec_file = memory_file(marshal.dumps(dict(self._spec)))
        try:
            _server.request((stdin, stdout, stderr, spec_file, status_end, leash_end))
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in (spec_file, status_end, leash_end):
                os.close(descriptor)
        return self

    @property
    def pid(self) -> int | None:
        """Its process id; None as long as it has not told."""
        said = self._values()
        return said[0] if said else None

    async def exit(self) -> int:
        """Wait for its end, which is the end of what it says."""
        while True:
            await readable(self._status)
            data = os.read(self._status, 4096)
            if not data:
                return 0 if self.report() else -_SIGKILL
            self._said += data

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pull(self) -> None:
        """Make it kill everything below it and end."""
        with suppress(BrokenPipeError):
            os.write(self._leash, b"x")

    def report(self) -> dict[str, Any]:
        """What it said before it ended; nothing if it was killed."""
        said = self._values()
        return dict(said[1]) if len(said) > 1 else {}

    def close(self) -> None:
        """Give back the pipes."""
        os.close(self._status)
        os.close(self._leash)

    def _values(self) -> list[Any]:
        file, values = io.BytesIO(self._said), []
        with suppress(EOFError, ValueError, TypeError):  # the rest is not there yet
            while True:
                values.append(marshal.load(file))
        return values
