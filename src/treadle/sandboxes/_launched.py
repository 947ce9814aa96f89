"""Treadle's side of the launcher: tells it what to do, and reads what became of it. Shared by `landlock` and `none`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Limits
from treadle.sandboxes._cgroup import Controllers, call_group
from treadle.sandboxes._disk import DiskWatch
from treadle.sandboxes._fork_server import Launcher
from treadle.sandboxes._process import END_SECONDS, Finished, Pipes, run_child
from treadle.sandboxes._result import NOT_EXECUTABLE, NOT_FOUND, exec_result
from treadle.sandboxes._rlimits import rlimits

_END_SECONDS = 30.0
"""How long a launcher may take that has something to do at the end."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One command for the launcher. `confine` is None for no walls at all."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    stdin: bytes
    confine: Mapping[str, Any] | None = None
    git_aside: str = ""
    pipes: Pipes | None = None
    is_trusted: bool = False
    """A program of ours, to which only the limits of time, output and disk apply."""
    at_end: tuple[str, ...] = ()
    """Run, with the same environment, when it had to be stopped: what it leaves behind may be no child of it."""
    elsewhere: Callable[[], int | None] | None = None
    """See `run_child`."""


async def launch(what: Launch, limits: Limits, controllers: Controllers | None) -> ExecResult:
    """Run one command by way of the launcher, within `limits`.

    Raises:
        SandboxUnavailable: The launcher failed; the command did not run.
    """
    disk = await DiskWatch.begun(Path(what.cwd), limits)
    with call_group(controllers, limits) as group:
        spec = {
            "argv": list(what.argv),
            "env": dict(what.env),
            "cwd": what.cwd,
            "rlimits": () if what.is_trusted else rlimits(limits, controllers, own_user_namespace=False),
            "at_end": list(what.at_end),
            "groups": [str(folder / "cgroup.procs") for folder in group.folders] if group else [],
            "git_aside": what.git_aside,
            "confine": dict(what.confine) if what.confine is not None else None,
        }
        launcher = Launcher(spec, what.pipes, _END_SECONDS if what.at_end else END_SECONDS)
        try:
            finished = await run_child(
                launcher,
                stdin=what.stdin,
                wall_seconds=limits.wall_seconds,
                keep=limits.output_bytes,
                stop=lambda _: launcher.pull(),
                disk=disk,
                elsewhere=what.elsewhere,
            )
        except OSError as error:
            raise SandboxUnavailable(f"The launcher could not be started: {error}.") from error
        return _judge(finished, launcher.report(), group is not None and group.out_of_memory())


def _judge(finished: Finished, report: Mapping[str, Any], out_of_memory: bool) -> ExecResult:
    if "not_run" in report:
        code = NOT_FOUND if report["not_run"] in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
        return exec_result(finished, code=code)
    if "exit" in report or finished.timed_out or finished.disk_full:
        return exec_result(finished, code=report.get("exit"), out_of_memory=out_of_memory)
    said = report.get("failed") or finished.stderr.strip() or f"it ended with code {finished.exit_code}"
    raise SandboxUnavailable(f"The launcher failed: {said}. The command did not run.")
