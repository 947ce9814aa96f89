"""Treadle's side of the launcher: tells it what to do, and reads what became of it. Shared by `landlock` and `none`."""

from __future__ import annotations

import errno
import marshal
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Limits
from treadle.sandboxes._cgroup import Controllers, call_group
from treadle.sandboxes._disk import DiskWatch
from treadle.sandboxes._process import END_SECONDS, Command, Finished, Pipes, memory_file, run_child
from treadle.sandboxes._result import NOT_EXECUTABLE, NOT_FOUND, exec_result
from treadle.sandboxes._rlimits import rlimits

_START = """
import sys
for name, folder in zip(("treadle", "treadle.sandboxes"), sys.argv[2:]):
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [folder]
from treadle.sandboxes._launcher import main
main(int(sys.argv[1]))
"""
"""Packages without their `__init__`: the launcher's start must not depend on what those import."""
_FOLDERS = (str(Path(__file__).parents[1]), str(Path(__file__).parent))


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


async def launch(what: Launch, limits: Limits, controllers: Controllers | None) -> ExecResult:
    """Run one command by way of the launcher, within `limits`.

    Raises:
        SandboxUnavailable: The launcher failed; the command did not run.
    """
    disk = await DiskWatch.begun(Path(what.cwd), limits)
    with call_group(controllers, limits) as group, _Pipes() as pipes:
        spec = {
            "argv": list(what.argv),
            "env": dict(what.env),
            "cwd": what.cwd,
            "leash": pipes.leash_end,
            "status": pipes.status_end,
            "rlimits": () if what.is_trusted else rlimits(limits, controllers, own_user_namespace=False),
            "at_end": list(what.at_end),
            "groups": [str(folder / "cgroup.procs") for folder in group.folders] if group else [],
            "git_aside": what.git_aside,
            "confine": dict(what.confine) if what.confine is not None else None,
        }
        spec_file = pipes.lend(marshal.dumps(spec))
        argv = (sys.executable, "-I", "-S", "-c", _START, str(spec_file), *_FOLDERS)
        try:
            finished = await run_child(
                Command(
                    argv,
                    env={},
                    cwd="/",
                    pass_fds=(spec_file, pipes.status_end, pipes.leash_end),
                    pipes=what.pipes,
                    end_seconds=_END_SECONDS if what.at_end else END_SECONDS,
                ),
                stdin=what.stdin,
                wall_seconds=limits.wall_seconds,
                keep=limits.output_bytes,
                stop=lambda _: pipes.pull(),
                disk=disk,
            )
        except OSError as error:
            raise SandboxUnavailable(f"The launcher could not be started: {error}.") from error
        return _judge(finished, pipes.report(), group is not None and group.out_of_memory())


class _Pipes:
    """Context with two pipes: the launcher's report comes back by one; it hangs on the other, its leash.

    The launcher stops when something comes over the leash, and when our end of it closes because Treadle has died.
    """

    def __enter__(self) -> _Pipes:
        self._status, self.status_end = os.pipe()
        self.leash_end, self._leash = os.pipe()
        self._open = [self._status, self.status_end, self.leash_end, self._leash]
        return self

    def __exit__(self, *exc: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)

    def lend(self, data: bytes) -> int:
        """A descriptor from which the launcher reads `data`."""
        self._open.append(memory_file(data))
        return self._open[-1]

    def pull(self) -> None:
        """Make the launcher kill everything below it and end."""
        os.write(self._leash, b"x")

    def report(self) -> dict[str, Any]:
        """What the launcher said before it ended; nothing if it was killed."""
        os.set_blocking(self._status, False)
        try:
            return dict(marshal.loads(os.read(self._status, 4096)))
        except BlockingIOError:
            return {}


def _judge(finished: Finished, report: Mapping[str, Any], out_of_memory: bool) -> ExecResult:
    if "not_run" in report:
        code = NOT_FOUND if report["not_run"] in (errno.ENOENT, errno.ENOTDIR) else NOT_EXECUTABLE
        return exec_result(finished, code=code)
    if "exit" in report or finished.timed_out or finished.disk_full:
        return exec_result(finished, code=report.get("exit"), out_of_memory=out_of_memory)
    said = report.get("failed") or finished.stderr.strip() or f"it ended with code {finished.exit_code}"
    raise SandboxUnavailable(f"The launcher failed: {said}. The command did not run.")
