"""Sandbox in a container of docker or podman, for machines that have one of them: one container for each call.

A launcher stands between Treadle and the engine's program, and removes the container when Treadle dies.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from treadle.egress.allowed import Egress
from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes import _seccomp
from treadle.sandboxes._engine import Engine, engine_environment, new_name
from treadle.sandboxes._git_mask import GitMask
from treadle.sandboxes._launched import Launch, launch
from treadle.sandboxes._oci_seccomp import profile
from treadle.sandboxes._outlet import PROGRAM, Outlet
from treadle.sandboxes._process import Pipes
from treadle.sandboxes._rlimits import RLIMIT_NAMES, Rlimits, limit_guarantees, rlimits
from treadle.sandboxes._runtime import CERTIFICATES, ETC, environment, find_runtime
from treadle.sandboxes._workspace import IN_NAMESPACES, Call, WorkspaceSandbox

WORKSPACE = "/workspace"
_HOME = "/tmp/home"
_ALIASES = "/.treadle/bin"
_RUN = "/.treadle/run"
_OUT = "/.treadle/out"
_IMAGE_PATH = "${PATH}"
_MOST_SAID = 300
"""Characters of what the engine says: it may repeat all of its options."""
_PROCESSES = 32768
"""Where a cgroup is the limit: by itself podman asks for more than it may have in many places, and fails."""
_OTHER_PROCESSES = 4096
_MARKS = 64
"""Bytes of stderr, at most, that are the script's own."""
_WALLS = (
    "--network none --read-only --cap-drop ALL --ipc private --hostname sandbox --log-driver none --entrypoint /bin/sh"
    " --security-opt no-new-privileges --security-opt label=disable"
)
"""No log: output of a flood would fill the host's disk. No label of SELinux's: it would have to be put on files."""
_SCRIPT = """\
printf '%s\\n' {mark} >&2
mkdir -p {home} && cd {folder} || exit 125
(exec env -i {variables} sh -c 'exec "$@"' sh {words})
code=$? killed=0
for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$file" ] && while read -r key value; do [ "$key" = oom_kill ] && killed=$value; done < "$file"
done
printf '%s %s %s\\n' {mark} "$code" "$killed" >&2
exit "$code"
"""
"""The container's first process. With it goes everything else; and it tells the command's end from the engine's."""


class ContainerSandbox(WorkspaceSandbox):
    """Runs each call in a new container without a network, whose only writable places are the workspace and `/tmp`.

    The workspace is `/workspace` inside; `.git` in it is hidden and cannot be made. Without an image of the user's, the
    container holds this machine's programs and Treadle's Python, read-only, as in the other backends.
    """

    name = "docker"

    def __init__(
        self,
        workspace: Path,
        *,
        engine: Engine,
        image: str,
        of_host: bool,
        limits: Limits,
        egress: Egress | None = None,
    ) -> None:
        """`of_host`: the image is `_engine.host_image`, and this machine's programs are mounted into it.

        `egress`: the hosts that commands may reach; None: there is no network.
        """
        super().__init__(workspace, limits=limits, egress=egress)
        self._engine = engine
        self._image = image
        self._runtime = find_runtime() if of_host else None
        self._filter = profile(_seccomp.COMMON + _seccomp.OWN_NETWORK)

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        held = {*IN_NAMESPACES, Guarantee.NO_NETWORK if self._egress is None else Guarantee.ALLOW_LIST}
        if self._filter is not None:
            held.add(Guarantee.SYSCALL_FILTER)
        limits = limit_guarantees(self._engine.controllers)
        return frozenset(held) | (limits if "pids" in self._engine.limits else limits - {Guarantee.PROCESS_LIMIT})

    async def _start(self, call: Call, outlet: Outlet | None) -> ExecResult:
        name, mark = new_name(), secrets.token_hex(8)
        with (
            GitMask(call.folder) if call.folder else nullcontext() as mask,
            tempfile.TemporaryDirectory(prefix="treadle-call-", ignore_cleanup_errors=True) as folder,
        ):
            private = Path(folder)
            if outlet is not None:
                call = self._through(outlet, call, private)
            (private / "run").write_text(self._script(call, mark))
            (private / "empty").mkdir(0o555)
            words = [
                *self._engine_words(call, name, private),
                *self._mounts(call, private, mask.path if mask else None),
            ]
            what = Launch(
                (*words, self._image, _RUN),
                engine_environment(),
                str(call.folder or private / "empty"),
                call.stdin,
                pipes=_Unmarked(call.pipes, mark) if call.pipes else None,
                at_end=(self._engine.path, "rm", "--force", name),
                elsewhere=partial(self._engine.first_process, name),
                is_trusted=True,
            )
            bounds = replace(call.limits, output_bytes=call.limits.output_bytes + _MARKS)
            return _judge(await launch(what, bounds, None), mark)

    def _through(self, outlet: Outlet, call: Call, private: Path) -> Call:
        """The call, begun by what makes the socket of its proxy."""
        (private / "listen.py").write_bytes(PROGRAM.read_bytes())
        try:
            outlet.open_at(private / "way")
        except OSError as error:
            raise SandboxUnavailable(f"No socket can be made in {private}: {error}; the command did not run.") from None
        python = (self._runtime.interpreter or sys.executable) if self._runtime else "python3"
        words = (python, "-I", "-S", f"{_OUT}/listen.py", f"{_OUT}/way", outlet.direct, *call.words)
        return replace(call, words=words)

    def _script(self, call: Call, mark: str) -> str:
        aliases = (_ALIASES,) if self._runtime and self._runtime.interpreter else ()
        path = (*aliases, *self._runtime.search_path) if self._runtime else (_IMAGE_PATH,)
        variables = environment(path, home=_HOME, tmp="/tmp", extra=call.env)
        settings = " ".join(
            f'PATH="{_IMAGE_PATH}"' if value == _IMAGE_PATH and name == "PATH" else shlex.quote(f"{name}={value}")
            for name, value in variables.items()
        )
        return _SCRIPT.format(
            mark=mark,
            home=_HOME,
            folder=WORKSPACE if call.folder else _HOME,
            variables=settings,
            words=shlex.join(call.words),
        )

    def _engine_words(self, call: Call, name: str, private: Path) -> list[str]:
        limits, engine = call.limits, self._engine
        words = [engine.path, "--log-level", "error", "run", "--rm", "--interactive", "--pull", "never", "--name", name]
        words += _WALLS.split()
        words += ["--read-only-tmpfs=false", "--image-volume", "ignore"] if engine.is_podman else []
        # Uid 0 of a rootless engine is its user; with other engines, the user is its own number.
        words += ["--user", "0:0" if engine.is_rootless else f"{os.getuid()}:{os.getgid()}", "--workdir", "/"]
        if self._filter is not None:
            (private / "seccomp").write_text(self._filter)
            words += ["--security-opt", f"seccomp={private / 'seccomp'}"]
        size = max(limits.memory_bytes // 2, 4096)
        words += ["--tmpfs", f"/tmp:rw,exec,nosuid,nodev,mode=1777,size={size}"]
        words += ["--shm-size", f"{max(limits.memory_bytes // 4, 4096)}b"]
        if "memory" in engine.limits:
            words += ["--memory", f"{limits.memory_bytes}b", "--memory-swap", f"{limits.memory_bytes}b"]
        if "pids" in engine.limits:
            words += ["--pids-limit", str(limits.processes + 1)]  # and the script
        if "cpu" in engine.limits and limits.cpus:
            words += ["--cpus", f"{limits.cpus:f}"]
        words += ["--cgroups", "disabled"] if engine.is_podman and not engine.limits else []
        return words + _ulimits(rlimits(limits, engine.controllers, own_user_namespace=False))

    def _mounts(self, call: Call, private: Path, git: Path | None) -> list[str]:
        words = _mount(private / "run", _RUN)
        for name in ("listen.py", "way") if self._egress is not None else ():
            words += _mount(private / name, f"{_OUT}/{name}")
        if self._runtime is not None:
            there = [path for path in self._runtime.system if not os.path.islink(path)]
            certificates = CERTIFICATES if self._egress is not None else ()
            for path in (*there, *self._runtime.python, *filter(os.path.exists, (*ETC, *certificates))):
                words += _mount(Path(path), path)
        for place in call.reads:
            words += _mount(place, str(place))
        if call.folder is not None and git is not None:
            words += _mount(call.folder, WORKSPACE, writable=True)
            words += _mount(private / "empty" if git.is_dir() else Path(os.devnull), f"{WORKSPACE}/{git.name}")
        return words


def _ulimits(rows: Rlimits) -> list[str]:
    bounds = {RLIMIT_NAMES[kind]: (soft, hard) for kind, soft, hard in rows if kind in RLIMIT_NAMES}
    # Containers of a user are counted together, and with the engine itself: a bomb is bounded by it, a call is not.
    most = bounds["nproc"][0] + _OTHER_PROCESSES if "nproc" in bounds else _PROCESSES
    bounds["nproc"] = (min(most, _PROCESSES), min(most, _PROCESSES))
    return [word for name, (soft, hard) in bounds.items() for word in ("--ulimit", f"{name}={soft}:{hard}")]


def _mount(source: Path, target: str, *, writable: bool = False) -> list[str]:
    if "," in f"{source}{target}" or '"' in f"{source}{target}":
        raise SandboxUnavailable(
            f"{source} cannot be mounted into a container: its name has a comma or a quote; the command did not run."
        )
    return ["--mount", f"type=bind,source={source},target={target}" + ("" if writable else ",readonly")]


class _Unmarked:
    """The ends that a child gets, for whoever wants to know what the command alone says on stderr."""

    def __init__(self, pipes: Pipes, mark: str) -> None:
        self._pipes, self._mark = pipes, mark
        self.stdin, self.stdout = pipes.stdin, pipes.stdout

    @property
    def stderr(self) -> Callable[[], str]:
        return self._pipes.stderr

    @stderr.setter
    def stderr(self, said: Callable[[], str]) -> None:
        self._pipes.stderr = lambda: _parts(said(), self._mark)[1]


def _parts(stderr: str, mark: str) -> tuple[str, str, str]:
    """What the engine said, what the command said, and the script's report if it came so far."""
    noise, _, said = stderr.partition(f"{mark}\n")
    text, ended, report = said.rpartition(f"{mark} ")
    return noise, text if ended else said, report if ended else ""


def _judge(result: ExecResult, mark: str) -> ExecResult:
    """What became of the command, from what the script said on stderr.

    Raises:
        SandboxUnavailable: The engine failed before it came to the command.
    """
    noise, text, report = _parts(result.stderr, mark)
    stopped = result.timed_out or result.disk_full
    if report:
        code, killed = map(int, report.split()[:2])
        return replace(result, exit_code=result.exit_code if stopped else code, stderr=text, out_of_memory=killed > 0)
    if stopped or mark in result.stderr:
        return replace(result, stderr=text)
    said = [line for line in noise.splitlines() if line.strip() and not line.startswith("Run 'docker")]
    why = said[-1][:_MOST_SAID] if said else f"it ended with code {result.exit_code}"
    raise SandboxUnavailable(f"The container could not be started: {why.rstrip('.')}. The command did not run.")
