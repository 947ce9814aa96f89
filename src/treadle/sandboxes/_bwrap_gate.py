"""Talks to one running `bwrap`: gives it its options, holds the command back until its limits stand, reads its end."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Sequence
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult
from treadle.sandboxes._cgroup import Group
from treadle.sandboxes._process import Child, Finished, memory_file, readable
from treadle.sandboxes._result import NOT_EXECUTABLE, NOT_FOUND, exec_result
from treadle.sandboxes._rlimits import Rlimits


class BwrapGate:
    """Context with the descriptors shared with one bwrap.

    bwrap builds the namespaces, names their first process, and waits. We put that process under its limits and keep a
    handle on it; then we open the gate. So the command never runs without limits, and there is always one process whose
    death ends the whole namespace.
    """

    def __init__(self, rlimits: Rlimits, group: Group | None) -> None:
        self._rlimits = rlimits
        self._group = group
        self._first_process: int | None = None
        self._lent: list[int] = []
        self._status = b""

    def __enter__(self) -> BwrapGate:
        self._read_status, self._write_status = os.pipe()
        self._wait_gate, self._open_gate = os.pipe()
        self._lent = [self._write_status, self._wait_gate]
        return self

    def __exit__(self, *exc: object) -> None:
        self._close_lent()
        os.close(self._read_status)
        os.close(self._open_gate)
        if self._first_process is not None:
            os.close(self._first_process)

    @property
    def lent(self) -> tuple[int, ...]:
        """Descriptors that bwrap must inherit."""
        return tuple(self._lent)

    def lend(self, data: bytes) -> str:
        """The number of a new descriptor from which bwrap reads `data`."""
        fd = memory_file(data)
        self._lent.append(fd)
        return str(fd)

    def adopt(self, descriptor: int) -> str:
        """The number of a descriptor that the command inherits; it is closed here once bwrap runs."""
        self._lent.append(descriptor)
        return str(descriptor)

    def arguments(self, options: Sequence[str]) -> list[str]:
        """The options in a descriptor: bwrap's command line can be read inside, and would tell the host's paths."""
        words = [*options, "--block-fd", str(self._wait_gate), "--json-status-fd", str(self._write_status)]
        return ["--args", self.lend(os.fsencode("\0".join(words) + "\0"))]

    async def release(self, child: Child) -> None:
        """Wait for the namespaces, set the limits, let the command start.

        Returns without opening the gate if bwrap ended before it got there: `judge` says why.
        """
        self._close_lent()
        pid = await self._first_pid()
        if pid is None:
            return
        self._first_process = os.pidfd_open(pid)
        if self._group is not None:
            await asyncio.to_thread(self._group.add, pid)
        for kind, soft, hard in self._rlimits:
            resource.prlimit(pid, kind, (soft, hard))
        os.write(self._open_gate, b"1")

    def stop(self, child: Child) -> None:
        """Kill the first process of the namespace; bwrap reports when the kernel has ended all others."""
        if self._first_process is None:
            child.signal(signal.SIGKILL)
            return
        try:
            signal.pidfd_send_signal(self._first_process, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def judge(self, finished: Finished) -> ExecResult:
        """The result of the command.

        Raises:
            SandboxUnavailable: bwrap failed before it came to the command.
        """
        self._status += _rest_of(self._read_status)
        stopped = finished.timed_out or finished.disk_full
        if stopped or finished.exit_code < 0 or "exit-code" in self._reported():
            out_of_memory = self._group is not None and self._group.out_of_memory()
            return exec_result(finished, out_of_memory=out_of_memory)
        if finished.stderr.startswith("bwrap: execvp "):
            missing = "No such file or directory" in finished.stderr
            return exec_result(finished, code=NOT_FOUND if missing else NOT_EXECUTABLE)
        said = finished.stderr.strip() or f"it ended with code {finished.exit_code}"
        raise SandboxUnavailable(f"bubblewrap could not build the sandbox: {said}. The command did not run.")

    async def _first_pid(self) -> int | None:
        while "child-pid" not in self._reported():
            await readable(self._read_status)
            data = os.read(self._read_status, 4096)
            if not data:
                return None
            self._status += data
        return int(self._reported()["child-pid"])

    def _reported(self) -> dict[str, Any]:
        """bwrap writes one JSON object a line; only whole lines count."""
        merged: dict[str, Any] = {}
        for line in self._status.splitlines(keepends=True):
            if line.endswith(b"\n"):
                merged.update(json.loads(line))
        return merged

    def _close_lent(self) -> None:
        while self._lent:
            os.close(self._lent.pop())


def _rest_of(fd: int) -> bytes:
    """Whatever lies in the pipe now, without waiting for its end."""
    os.set_blocking(fd, False)
    data = b""
    try:
        while chunk := os.read(fd, 4096):
            data += chunk
    except BlockingIOError:
        pass
    return data
