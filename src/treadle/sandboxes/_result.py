"""From what became of the host's child to what became of the command."""

from __future__ import annotations

from treadle.ports.sandbox import ExecResult
from treadle.sandboxes._process import Finished

DISK_FULL = 122
TIMED_OUT = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127


def exec_result(finished: Finished, *, out_of_memory: bool = False, code: int | None = None) -> ExecResult:
    """`code` replaces the child's own exit code; running out of time or disk replaces both."""
    number = finished.exit_code if code is None else code
    if number < 0:
        number = 128 - number
    if finished.disk_full:
        number = DISK_FULL
    return ExecResult(
        exit_code=TIMED_OUT if finished.timed_out else number,
        stdout=finished.stdout,
        stderr=finished.stderr,
        seconds=finished.seconds,
        timed_out=finished.timed_out,
        truncated=finished.truncated,
        out_of_memory=out_of_memory,
        disk_full=finished.disk_full,
    )
