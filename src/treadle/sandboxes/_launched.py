"""Treadle's side of the launcher: tells it what to do, and reads what became of it. Shared by `landlock` and `none`."""

from __future__ import annotations

import errno
import marshal
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Limits
from treadle.sandboxes._cgroup import Controllers, call_group
from treadle.sandboxes._process import Child, Command, Finished, memory_file, run_child
from treadle.sandboxes._result import NOT_EXECUTABLE, NOT_FOUND, exec_result
from treadle.sandboxes._rlimits import rlimits

_SOURCE = str(Path(__file__).parents[2])
_START = (
    "import sys; sys.path.append(sys.argv[1]); from treadle.sandboxes._launcher import main; main(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """One command for the launcher. `confine` is None for no walls at all."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    stdin: bytes
    confine: Mapping[str, Any] | None = None
    git_aside: str = ""


async def launch(what: Launch, limits: Limits, controllers: Controllers | None) -> ExecResult:
    """Run one command by way of the launcher, within `limits`.

    Raises:
        SandboxUnavailable: The launcher failed; the command did not run.
    """
    with call_group(controllers, limits) as group:
        read_status, write_status = os.pipe()
        groups = [str(folder / "cgroup.procs") for folder in group.folders] if group else []
        spec = {
            "argv": list(what.argv),
            "env": dict(what.env),
            "cwd": what.cwd,
            "parent": os.getpid(),
            "status": write_status,
            "rlimits": rlimits(limits, controllers, own_user_namespace=False),
            "groups": groups,
            "git_aside": what.git_aside,
            "confine": dict(what.confine) if what.confine is not None else None,
        }
        spec_file = memory_file(marshal.dumps(spec))
        try:
            finished = await run_child(
                Command(
                    (sys.executable, "-I", "-S", "-c", _START, _SOURCE, str(spec_file)),
                    env={},
                    cwd="/",
                    pass_fds=(spec_file, write_status),
                ),
                stdin=what.stdin,
                wall_seconds=limits.wall_seconds,
                keep=limits.output_bytes,
                stop=_stop,
            )
            os.close(write_status)
            write_status = -1
            report = _report(read_status)
        except OSError as error:
            raise SandboxUnavailable(f"The launcher could not be started: {error}.") from error
        finally:
            for descriptor in (read_status, write_status, spec_file):
                if descriptor >= 0:
                    os.close(descriptor)
        return _judge(finished, report, group is not None and group.out_of_memory())


def _stop(child: Child) -> None:
    """The launcher kills everything below it, then ends."""
    child.signal(signal.SIGTERM)


def _report(descriptor: int) -> dict[str, Any]:
    said = os.read(descriptor, 4096)
    return dict(marshal.loads(said)) if said else {}


def _judge(finished: Finished, report: Mapping[str, Any], out_of_memory: bool) -> ExecResult:
    if "not_run" in report:
        code = NOT_FOUND if report["not_run"] in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
        return exec_result(finished, code=code)
    if "exit" in report or finished.timed_out:
        return exec_result(finished, code=report.get("exit"), out_of_memory=out_of_memory)
    said = report.get("failed") or finished.stderr.strip() or f"it ended with code {finished.exit_code}"
    raise SandboxUnavailable(f"The launcher failed: {said}. The command did not run.")
