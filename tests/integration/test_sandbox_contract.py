"""What every sandbox backend must do; the host is looked at afterwards. `tests/escape` has the attacks.

A backend that does not hold a guarantee is expected to let the attack through: `held` is compared, not skipped.
`test_sandbox_as_user.py` runs this file again as an ordinary user.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from treadle.errors import SandboxUnavailable, UsageError
from treadle.ports.sandbox import MIB, ExecResult, Guarantee, Limits, Sandbox
from treadle.sandboxes import choose
from treadle.sandboxes._cgroup import find_controllers
from treadle.sandboxes.landlock import LandlockSandbox

LIMITS = Limits(wall_seconds=20.0, memory_bytes=256 * MIB, processes=24, output_bytes=8192)
OLD_LANDLOCK = "landlock of Linux 5.19"
"""ABI 2: no right to truncate, no TCP rules, no scopes. The filter and the launcher must make up for them."""
WALLS = ("bubblewrap", "landlock", OLD_LANDLOCK, "docker")
EVERY = ("bubblewrap", "landlock", "docker", "none")

Run = Callable[..., "asyncio.Future[ExecResult]"]


async def open_backend(name: str, workspace: Path) -> Sandbox:
    if name == OLD_LANDLOCK:
        await choose.open_sandbox(workspace, backend="landlock")
        return LandlockSandbox(workspace, abi=2, limits=LIMITS, controllers=find_controllers())
    return await choose.open_sandbox(workspace, backend=name, limits=LIMITS)


@pytest.fixture(params=EVERY)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
async def sandbox(backend: str, workspace: Path) -> AsyncIterator[Sandbox]:
    try:
        opened = await open_backend(backend, workspace)
    except SandboxUnavailable as error:
        pytest.skip(f"{backend} does not work here: {error}")
    yield opened
    await opened.close()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the user's that the workspace lies beside."""
    file = tmp_path / "outside.txt"
    file.write_text("top secret")
    os.chmod(file, 0o640)
    os.utime(file, (1, 1))
    return file


walls_only = pytest.mark.parametrize("backend", WALLS, indirect=True)


async def python(
    sandbox: Sandbox, code: str, *arguments: object, limits: Limits = LIMITS, **more: object
) -> ExecResult:
    argv = ["python", "-S", "-c", code, *map(str, arguments)]
    return await sandbox.exec(argv, limits=limits, **more)  # type: ignore[arg-type]


async def attempts(sandbox: Sandbox, code: str, *arguments: object) -> list[str]:
    """Run lines of code one by one inside; the lines that raised nothing."""
    script = (
        "import ctypes, os, socket, sys\n"
        "a = sys.argv[2:]\n"
        "for line in sys.argv[1].splitlines():\n"
        "    try: exec(line)\n"
        "    except OSError: pass\n"
        "    else: print(line)\n"
    )
    result = await python(sandbox, script, code.strip(), *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


async def appearance(path: Path) -> None:
    """Wait for a file that a command writes: the one signal it can give while it runs."""
    while not path.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def running(marker: str) -> list[int]:
    """Processes of the host with this word in their command line, zombies left out."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if marker.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
            except OSError:
                continue
    return found


# How a call ends


async def test_an_exit_code_is_reported(sandbox: Sandbox) -> None:
    assert (await sandbox.exec(["true"])).exit_code == 0
    assert (await sandbox.exec(["sh", "-c", "exit 7"])).exit_code == 7


async def test_a_signal_is_reported_as_128_and_its_number(sandbox: Sandbox) -> None:
    assert (await sandbox.exec(["sh", "-c", "kill -SEGV $$"])).exit_code == 139


async def test_a_missing_command_is_127_and_one_that_cannot_run_126(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / "data").write_text("no program")
    assert (await sandbox.exec(["no-such-command"])).exit_code == 127
    assert (await sandbox.exec(["./data"])).exit_code == 126


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"]])
async def test_an_empty_command_is_refused(sandbox: Sandbox, argv: list[str]) -> None:
    with pytest.raises(UsageError):
        await sandbox.exec(argv)


async def test_stdin_larger_than_a_pipe_arrives_whole(sandbox: Sandbox) -> None:
    result = await sandbox.exec(["wc", "-c"], stdin=b"x" * 3_000_000)
    assert result.stdout.strip() == "3000000"


async def test_stdin_is_empty_unless_given(sandbox: Sandbox) -> None:
    assert (await sandbox.exec(["wc", "-c"])).stdout.strip() == "0"


async def test_output_that_is_no_text_is_replaced(sandbox: Sandbox) -> None:
    result = await sandbox.exec(["printf", r"a\377b"])
    assert result.stdout == "a\ufffdb"


async def test_a_flood_of_output_keeps_its_head_and_its_tail(sandbox: Sandbox) -> None:
    result = await sandbox.exec(["sh", "-c", "echo first; yes | head -c 20000000; echo last; echo problem >&2"])
    assert result.truncated
    assert result.stdout.startswith("first\n") and result.stdout.endswith("last\n")
    assert len(result.stdout) < LIMITS.output_bytes + 100
    assert result.stderr == "problem\n"


async def test_an_endless_loop_ends_at_the_wall_time(sandbox: Sandbox) -> None:
    seconds = 6.0 if sandbox.name == "docker" else 1.0  # of which the start of a container takes its part
    result = await sandbox.exec(["sh", "-c", "echo begun; while :; do :; done"], limits=Limits(wall_seconds=seconds))
    assert (result.exit_code, result.timed_out, result.stdout) == (124, True, "begun\n")
    assert result.seconds < seconds + 3


async def test_nothing_but_the_workspace_outlives_a_call(sandbox: Sandbox, workspace: Path) -> None:
    await sandbox.exec(["sh", "-c", 'echo kept > kept; echo gone > "$TMPDIR/gone"; echo gone > "$HOME/gone"'])
    result = await sandbox.exec(["sh", "-c", 'cat kept; cat "$TMPDIR/gone" "$HOME/gone"'])
    assert result.stdout == "kept\n"
    assert (workspace / "kept").stat().st_uid == os.getuid()


async def test_a_workspace_goes_back_to_a_snapshot_of_it(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / "kept").write_text("before")
    snapshot = await sandbox.snapshot()
    await sandbox.exec(
        ["sh", "-c", "echo after > kept; mkdir -p new/er; echo x > new/er/file; ln -s /etc link; chmod 0 new"]
    )
    await snapshot.restore()
    await snapshot.close()
    assert {path.name: path.read_text() for path in workspace.iterdir()} == {"kept": "before"}
    assert [path.name for path in workspace.parent.iterdir()] == ["workspace"]


async def test_many_calls_run_at_once(sandbox: Sandbox) -> None:
    results = await asyncio.gather(*(sandbox.exec(["sh", "-c", f"exit {n}"]) for n in range(12)))
    assert [result.exit_code for result in results] == list(range(12))


# The runtime inside


async def test_python_is_the_one_that_runs_treadle(sandbox: Sandbox) -> None:
    for name in ("python", "python3"):
        result = await sandbox.exec([name, "-c", "import sys; print(sys.version_info[:3], sys.prefix)"])
        assert result.stdout.strip() == f"{sys.version_info[:3]} {sys.prefix}", result.stderr


async def test_pytest_runs_inside(sandbox: Sandbox, workspace: Path) -> None:
    if not Path(pytest.__file__).is_relative_to(sys.prefix):
        pytest.skip("pytest does not belong to this Python, so it is not inside either")
    (workspace / "test_it.py").write_text("def test_good(tmp_path):\n    (tmp_path / 'f').write_text('x')\n")
    (workspace / "test_bad.py").write_text("def test_bad():\n    assert 1 == 2\n")
    argv = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = await sandbox.exec(argv, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert (result.exit_code, "1 failed, 1 passed" in result.stdout) == (1, True), result.stdout + result.stderr
    assert (await sandbox.exec(["sh", "-c", "command -v pytest"])).exit_code == 0
    assert {path.name for path in workspace.iterdir()} == {"test_it.py", "test_bad.py"}


async def test_the_environment_is_empty_but_for_what_is_given(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "host-secret")
    monkeypatch.setenv("LD_PRELOAD", "")
    result = await sandbox.exec(["env"], env={"GIVEN": "a=b c"})
    names = {line.split("=", 1)[0] for line in result.stdout.splitlines()}
    assert "GIVEN=a=b c" in result.stdout.splitlines()
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {
        *("PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "GIVEN")
    }


@pytest.mark.parametrize("env", [{"A=B": ""}, {"": "x"}, {"A": "x\0y"}])
async def test_an_impossible_environment_variable_is_refused(sandbox: Sandbox, env: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        await sandbox.exec(["true"], env=env)


@walls_only
async def test_ordinary_file_work_succeeds(sandbox: Sandbox, workspace: Path) -> None:
    code = """
import os, shutil, subprocess, tempfile
open('a', 'w').write('x'); os.chmod('a', 0o755); os.utime('a', (5, 6)); shutil.copy2('a', 'b')
os.mkdir('d'); os.rename('b', 'd/b'); os.symlink('a', 'link'); os.link('a', 'hard'); os.truncate('hard', 1)
with open('a') as f: os.fchmod(f.fileno(), 0o700); os.utime(f.fileno(), (7, 8)); os.fchown(f.fileno(), -1, os.getgid())
shutil.copytree('d', 'e'); shutil.rmtree('d'); os.utime('e/b')
os.chmod('b', 0o711, dir_fd=os.open('e', os.O_RDONLY))
with tempfile.TemporaryDirectory() as t: shutil.copy2('a', t)
p = subprocess.Popen(['sleep', '9']); p.terminate(); print(p.wait())
"""
    result = await python(sandbox, code)
    assert (result.exit_code, result.stdout) == (0, "-15\n"), result.stderr
    assert (workspace / "a").stat().st_mode & 0o777 == 0o700
    assert (workspace / "a").stat().st_mtime == 8
    assert (workspace / "e/b").stat().st_mode & 0o777 == 0o711


# Files

CHANGES_OUTSIDE = """
open(a[0], 'a').close()
open(a[1] + '/new', 'x')
os.truncate(a[0], 0)
os.chmod(a[0], 0o666)
os.utime(a[0], (9, 9))
os.rename(a[0], a[0] + '.moved')
os.symlink('x', a[1] + '/link')
os.mkdir(a[1] + '/folder')
os.unlink(a[0])
"""


async def test_nothing_outside_the_workspace_can_be_changed(sandbox: Sandbox, outside: Path) -> None:
    before = outside.stat()
    succeeded = await attempts(sandbox, CHANGES_OUTSIDE, outside, outside.parent)
    assert (succeeded == []) is (Guarantee.FILES_CONFINED in sandbox.guarantees), succeeded
    if succeeded:
        return
    after = outside.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)
    assert sorted(path.name for path in outside.parent.iterdir()) == [outside.name, "workspace"]


async def test_links_in_the_workspace_lead_nowhere(sandbox: Sandbox, workspace: Path, outside: Path) -> None:
    (workspace / "link").symlink_to(outside)
    (workspace / "up").symlink_to("..")
    lines = (
        "open('link').read()\nopen('link', 'a')\nos.chmod('link', 0o666)\nopen('up/outside.txt')\nos.link(a[0], 'h')"
    )
    succeeded = await attempts(sandbox, lines, outside)
    assert (succeeded == []) is (Guarantee.FILES_CONFINED in sandbox.guarantees), succeeded
    assert outside.read_text() == "top secret"


async def test_files_of_the_host_cannot_be_read(sandbox: Sandbox, outside: Path) -> None:
    home = Path.home() if os.access(Path.home(), os.R_OK) else outside.parent
    lines = f"open({str(outside)!r}).read()\nos.listdir({str(home)!r})\nos.listdir({str(outside.parent)!r})"
    lines += "\nopen('/etc/shadow').read()\nopen('/etc/machine-id').read()\nopen('/proc/kmsg').read(1)"
    succeeded = await attempts(sandbox, lines.replace(str(home), str(outside.parent)))
    assert (succeeded == []) is (Guarantee.FILES_CONFINED in sandbox.guarantees), succeeded


@walls_only
async def test_the_runtime_is_read_only(sandbox: Sandbox) -> None:
    lines = (
        "open(os.__file__, 'a')\nos.chmod(os.__file__, 0o666)\nopen('/usr/bin/x', 'w')\nopen(sys.prefix + '/x', 'w')"
    )
    lines += "\nopen('/x', 'w')\nopen('/dev/x', 'w')\nopen('/etc/ld.so.preload', 'w')\nopen('/proc/sysrq-trigger', 'w')"
    lines += "\nopen('/proc/sys/kernel/hostname', 'w')\nopen('/proc/sys/kernel/core_pattern', 'w')"
    lines += "\nwith open(os.__file__) as f: os.fchmod(f.fileno(), 0o666)"
    # A container's /dev is its own memory, gone with it; its root may put files there.
    succeeded = await attempts(sandbox, lines)
    assert [line for line in succeeded if sandbox.name != "docker" or "/dev/x" not in line] == []


@walls_only
async def test_no_setuid_file_can_be_made(sandbox: Sandbox, workspace: Path) -> None:
    lines = "os.close(os.open('a', os.O_CREAT | os.O_WRONLY, 0o4755))\nopen('b', 'w').close()\nos.chmod('b', 0o4755)"
    lines += "\nos.chmod('b', 0o2755)\nwith open('b') as f: os.fchmod(f.fileno(), 0o4755)\nos.mknod('c', 0o104755)"
    assert await attempts(sandbox, lines) == ["open('b', 'w').close()"]
    assert not any(path.stat().st_mode & 0o6000 for path in workspace.iterdir())


@walls_only
async def test_no_device_can_be_made(sandbox: Sandbox) -> None:
    assert await attempts(sandbox, "os.mknod('disk', 0o60666, os.makedev(254, 0))\nos.listdir('/dev/mapper')") == []


async def test_an_inherited_descriptor_is_not_visible(sandbox: Sandbox, outside: Path) -> None:
    descriptor = os.open(outside, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        code = "import os\nfor n in range(3, 256):\n  try: os.fstat(n); print(n)\n  except OSError: pass"
        assert (await python(sandbox, code)).stdout == ""
    finally:
        os.close(descriptor)


# Git

PLANT = "mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit; echo evil > .git/config; mv .git .g; rm -rf .git; true"


@walls_only
async def test_git_of_the_workspace_cannot_be_read_or_changed(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / ".git/hooks").mkdir(parents=True)
    (workspace / ".git/config").write_text("token")
    result = await sandbox.exec(["sh", "-c", f"cat .git/config; {PLANT}"])
    assert "token" not in result.stdout
    assert (workspace / ".git/config").read_text() == "token"
    assert list((workspace / ".git/hooks").iterdir()) == []


@walls_only
async def test_git_cannot_be_planted_where_it_is_missing(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / "kept").touch()
    await asyncio.gather(*(sandbox.exec(["sh", "-c", PLANT]) for _ in range(3)))
    assert not (workspace / ".git").exists()
    assert (workspace / "kept").exists()
    assert not any("treadle" in path.name for path in workspace.parent.iterdir())


@walls_only
async def test_the_git_file_of_a_worktree_keeps_pointing_where_it_did(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / ".git").write_text("gitdir: /repo/.git/worktrees/w")
    await sandbox.exec(["sh", "-c", f"echo 'gitdir: /workspace/evil' > .git; {PLANT}"])
    assert (workspace / ".git").read_text() == "gitdir: /repo/.git/worktrees/w"


@walls_only
async def test_git_is_back_after_a_time_out_and_after_a_cancellation(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / ".git").mkdir()
    (workspace / ".git/config").write_text("token")
    await sandbox.exec(["sleep", "60"], limits=Limits(wall_seconds=0.5))
    assert (workspace / ".git/config").read_text() == "token"
    call = asyncio.ensure_future(sandbox.exec(["sh", "-c", "echo > begun; sleep 60"]))
    await appearance(workspace / "begun")
    call.cancel()
    await asyncio.wait([call])
    assert (workspace / ".git/config").read_text() == "token"


# Network


async def test_the_network_of_the_host_cannot_be_reached(sandbox: Sandbox, tmp_path: Path) -> None:
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    with tcp, udp, unix, abstract:
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "s"))
        abstract.bind(f"\0treadle-{os.getpid()}")
        for server in (unix, abstract):
            server.listen()
        for server in (tcp, udp, unix, abstract):
            server.setblocking(False)
        lines = (
            "socket.create_connection(('127.0.0.1', int(a[0])), 2)\n"
            "socket.socket(socket.AF_UNIX).connect(a[2])\n"
            "socket.socket(socket.AF_UNIX).connect('\\0' + a[3])\n"
            "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', a[2])\n"
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('8.8.8.8', 53))\n"
            "socket.create_connection(('169.254.169.254', 80), 1)\n"
        )
        arguments = (tcp.getsockname()[1], udp.getsockname()[1], tmp_path / "s", f"treadle-{os.getpid()}")
        succeeded = await attempts(sandbox, lines, *arguments)
        send = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int(a[1])))"
        await attempts(sandbox, send, *arguments)
        held = Guarantee.NO_NETWORK in sandbox.guarantees
        assert (succeeded == []) is held, succeeded
        assert [reached(server) for server in (tcp, udp, unix, abstract)] == [not held] * 4


def reached(server: socket.socket) -> bool:
    try:
        if server.type == socket.SOCK_DGRAM:
            server.recv(10)
        else:
            server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


async def test_programs_of_one_call_talk_over_their_own_loopback_only_in_namespaces(sandbox: Sandbox) -> None:
    lines = "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 2)"
    assert bool(await attempts(sandbox, lines)) is (sandbox.name in ("bubblewrap", "docker", "none"))


@walls_only
async def test_unusual_socket_families_are_refused(sandbox: Sandbox) -> None:
    vsock, alg, packet = "socket.socket(40, 1)", "socket.socket(38, 5)", "socket.socket(17, 3)"
    assert await attempts(sandbox, "\n".join([vsock, alg, packet])) == []


# Privileges and other processes


@walls_only
async def test_no_capability_and_no_way_to_one(sandbox: Sandbox) -> None:
    result = await python(sandbox, "print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in result.stdout.splitlines() if ":\t" in line)
    held = {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
    assert held == dict.fromkeys(held, 0)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    if os.getuid() == 0:
        assert int(status["CapBnd"], 16) == 0


FORBIDDEN = """
def call(*n): raise OSError if ctypes.CDLL(None).syscall(*n) < 0 else None
call(101, 0, 0, 0, 0)
call(165, b'none', b'/tmp', b'tmpfs', 0, None)
call(272, 0x10000000)
call(272, 0x00020000)
call(56, 0x10000000 | 17, None, None, None, 0)
call(425, 4, ctypes.create_string_buffer(120))
call(323, 0)
call(321, 0, None, 0)
call(250, 0, -3, 0)
call(298, ctypes.create_string_buffer(b'\\x01' + b'\\0' * 3 + b'\\x78', 128), 0, -1, -1, 0)
call(435, None, 0)
call(310, os.getppid(), None, 0, None, 0, 0)
call(161, b'/')
"""


@walls_only
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="call numbers of x86_64")
async def test_system_calls_that_attack_the_kernel_are_refused(sandbox: Sandbox) -> None:
    assert await attempts(sandbox, FORBIDDEN) == [FORBIDDEN.splitlines()[1]]


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the user's, outside."""
    with subprocess.Popen(["sleep", "321"], env={"SECRET": "host-secret"}, start_new_session=True) as process:
        yield process
        process.kill()


async def test_processes_of_the_host_cannot_be_looked_into(sandbox: Sandbox, victim: subprocess.Popen[bytes]) -> None:
    lines = f"open('/proc/{victim.pid}/environ').read()\nopen('/proc/{victim.pid}/cmdline').read()"
    lines += f"\nos.listdir('/proc/{victim.pid}/fd')\nos.listdir('/proc/{victim.pid}/cwd/')"
    succeeded = await attempts(sandbox, lines)
    assert (succeeded == []) is (Guarantee.FILES_CONFINED in sandbox.guarantees), succeeded
    exists = await attempts(sandbox, f"os.stat('/proc/{victim.pid}')")
    assert (exists == []) is (Guarantee.PROCESSES_HIDDEN in sandbox.guarantees)


@walls_only
async def test_processes_of_the_host_cannot_be_signalled_or_slowed(
    sandbox: Sandbox, victim: subprocess.Popen[bytes]
) -> None:
    n = victim.pid
    lines = f"os.kill({n}, 9)\nos.killpg({n}, 9)\nos.kill({os.getpid()}, 0)\nos.setpriority(0, {n}, 19)"
    lines += f"\nos.sched_setaffinity({n}, [0])\nimport resource; resource.prlimit({n}, 0, (1, 1))"
    lines += f"\nimport signal; signal.pidfd_send_signal(os.pidfd_open({n}), 9)\nos.kill(os.getppid(), 9)"
    succeeded = await attempts(sandbox, lines)
    # In a PID namespace the parent is bwrap's init, which the kernel shields from signals without an error.
    assert [line for line in succeeded if "getppid" not in line] == []
    assert (await sandbox.exec(["sh", "-c", "trap '' TERM; kill -TERM -1; exit 5"])).exit_code == 5
    assert victim.poll() is None


async def test_a_daemon_that_forked_twice_is_gone_after_the_call(sandbox: Sandbox) -> None:
    marker = f"4{time.time_ns() % 10**9}"
    daemon = f"(setsid sh -c 'trap \"\" TERM HUP; sleep {marker} & sleep {marker}' > /dev/null 2>&1 &) & exit 3"
    assert (await sandbox.exec(["sh", "-c", daemon])).exit_code == 3
    assert running(marker) == []


async def test_a_daemon_that_holds_the_output_open_does_not_delay_the_end(sandbox: Sandbox) -> None:
    result = await sandbox.exec(["sh", "-c", "setsid sleep 50 & exit 4"])
    assert (result.exit_code, result.seconds < 4) == (4, True)


async def test_cancelling_a_call_kills_its_whole_tree_first(sandbox: Sandbox, workspace: Path) -> None:
    marker = f"5{time.time_ns() % 10**9}"
    script = f"setsid sleep {marker} & echo > begun; sleep {marker}"
    call = asyncio.ensure_future(sandbox.exec(["sh", "-c", script]))
    await appearance(workspace / "begun")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert running(marker) == []


async def test_closing_the_sandbox_ends_its_calls_and_takes_no_more(sandbox: Sandbox, workspace: Path) -> None:
    marker = f"6{time.time_ns() % 10**9}"
    call = asyncio.ensure_future(sandbox.exec(["sh", "-c", f"echo > begun; sleep {marker}"]))
    await appearance(workspace / "begun")
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(SandboxUnavailable):
        await call
    assert running(marker) == []
    with pytest.raises(SandboxUnavailable):
        await sandbox.exec(["true"])


# Limits

FORK_BOMB = """
import os, signal
children = []
try:
    for n in range(300):
        pid = os.fork()
        if not pid: signal.pause()
        children.append(pid)
except OSError: pass
print(len(children))
"""


async def test_a_fork_bomb_is_contained(sandbox: Sandbox) -> None:
    result = await python(sandbox, FORK_BOMB)
    others = 4  # RLIMIT_NPROC counts all processes of the user: those that end meanwhile make room
    contained = int(result.stdout) <= LIMITS.processes + others
    held = os.getuid() != 0 or bool((c := find_controllers()) and c.pids)
    if sandbox.name == "docker":  # its cgroups are the engine's
        held = Guarantee.PROCESS_LIMIT in sandbox.guarantees
    assert contained is held, result
    assert contained or Guarantee.PROCESS_LIMIT not in sandbox.guarantees


async def test_a_fork_bomb_that_never_rests_ends_with_the_call(sandbox: Sandbox) -> None:
    started = time.monotonic()
    result = await python(
        sandbox,
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        limits=Limits(wall_seconds=0.7, processes=16),
    )
    assert result.timed_out
    assert time.monotonic() - started < 8


async def test_one_process_cannot_take_more_than_the_memory_limit(sandbox: Sandbox) -> None:
    result = await python(sandbox, "x = bytearray(700_000_000)\nprint('had it')")
    assert result.exit_code != 0
    assert "had it" not in result.stdout


async def test_many_processes_share_one_memory_limit(sandbox: Sandbox) -> None:
    code = (
        "import os, time\nfor n in range(7):\n  if not os.fork(): x = bytearray(b'x' * 60_000_000); time.sleep(0.4); "
    )
    code += "print('had it', flush=True); os._exit(0)\nfor n in range(7): os.wait()"
    result = await python(sandbox, code)
    all_had_it = result.stdout.count("had it") == 7
    held = bool((c := find_controllers()) and c.memory)
    if sandbox.name == "docker":
        held = Guarantee.MEMORY_LIMIT in sandbox.guarantees
    assert all_had_it is not held
    assert result.out_of_memory is not all_had_it
    assert not all_had_it or Guarantee.MEMORY_LIMIT not in sandbox.guarantees


async def test_a_file_cannot_grow_over_its_limit(sandbox: Sandbox, workspace: Path) -> None:
    result = await sandbox.exec(["sh", "-c", "yes > big"], limits=Limits(wall_seconds=10, file_bytes=1 * MIB))
    assert result.exit_code != 0 and not result.timed_out
    assert (workspace / "big").stat().st_size <= 1 * MIB


FILLS = {
    "files": "n = 0\nwhile True:\n    open(f'f{n}', 'wb').write(b'x' * 1_000_000); n += 1",
    "names": "n = 0\nwhile True:\n    open(f'f{n}', 'w').close(); n += 1",
    "a hidden folder": (
        "import os\nos.mkdir('d'); files = [open(f'd/{n}', 'wb') for n in range(50)]; os.chmod('d', 0)\n"
        "while True:\n    for file in files: file.write(b'x' * 1_000_000); file.flush()"
    ),
    "files without a name": (
        "import os\nfiles = [open(f'f{n}', 'wb') for n in range(50)]\nfor n in range(50): os.unlink(f'f{n}')\n"
        "while True:\n    for file in files: file.write(b'x' * 1_000_000); file.flush()"
    ),
    "mapped files without a name": (
        "import mmap, os\nkept = []\nwhile True:\n    file = open('f', 'w+b'); file.truncate(1_000_000)\n"
        "    memory = mmap.mmap(file.fileno(), 0); memory.write(b'x' * 1_000_000); kept.append(memory)\n"
        "    file.close(); os.unlink('f')"
    ),
}


@pytest.mark.parametrize("way", FILLS)
async def test_a_call_that_fills_the_disk_is_ended(sandbox: Sandbox, workspace: Path, way: str) -> None:
    (workspace / "old").write_bytes(b"x" * 30 * MIB)
    bounds = Limits(wall_seconds=20, disk_bytes=20 * MIB, files=5000, processes=24)
    result = await python(sandbox, FILLS[way], limits=bounds)
    assert (result.disk_full, result.exit_code, result.timed_out) == (True, 122, False), result


async def test_a_call_that_was_too_quick_to_be_caught_is_told_of_all_the_same(sandbox: Sandbox) -> None:
    code = "import os\nwith open('f', 'wb') as file: os.posix_fallocate(file.fileno(), 0, 2_000_000)"
    result = await python(sandbox, code, limits=Limits(disk_bytes=1 * MIB))
    assert (result.disk_full, result.exit_code) == (True, 122)
    assert not (await python(sandbox, "open('g', 'w').close()", limits=Limits(disk_bytes=1 * MIB))).disk_full


async def test_what_git_keeps_does_not_count_and_holes_take_nothing(sandbox: Sandbox, workspace: Path) -> None:
    (workspace / ".git").mkdir()
    (workspace / ".git/pack").write_bytes(b"x" * 3 * MIB)
    code = "with open('f', 'wb') as file: file.truncate(30_000_000)"
    result = await python(sandbox, code, limits=Limits(disk_bytes=1 * MIB))
    assert (result.exit_code, result.disk_full) == (0, False)


async def test_the_share_of_the_processor_is_limited(sandbox: Sandbox) -> None:
    result = await python(
        sandbox,
        "import time\nbegan = time.monotonic()\nwhile time.process_time() < 0.2: pass\nprint(time.monotonic() - began)",
        limits=Limits(cpus=0.2),
    )
    limited = float(result.stdout) > 0.7
    held = bool((c := find_controllers()) and c.cpu)
    assert limited or not held or sandbox.name == "docker"
    assert limited or Guarantee.CPU_LIMIT not in sandbox.guarantees


async def test_processor_time_is_limited(sandbox: Sandbox) -> None:
    result = await sandbox.exec(["sh", "-c", "while :; do :; done"], limits=Limits(wall_seconds=20, cpu_seconds=1))
    assert result.exit_code in (128 + 24, 128 + 9) and not result.timed_out


async def test_open_files_are_limited_and_no_core_is_written(sandbox: Sandbox) -> None:
    code = "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    result = await python(sandbox, code, limits=Limits(open_files=64))
    assert result.stdout.strip() == "(64, 64) (0, 0)"


@pytest.mark.parametrize("backend", ["bubblewrap"], indirect=True)
async def test_files_in_memory_are_bounded(sandbox: Sandbox) -> None:
    result = await sandbox.exec(["df", "-B1", "--output=size", "/tmp", "/dev/shm"])
    assert [int(size) for size in result.stdout.split()[1:]] == [LIMITS.memory_bytes // 2, LIMITS.memory_bytes // 4]


# What each backend says of itself


@pytest.fixture
def limits_held() -> Iterator[set[Guarantee]]:
    controllers = find_controllers()
    held = {Guarantee.PROCESS_MEMORY_LIMIT, Guarantee.DISK_LIMIT}
    if controllers and controllers.cpu:
        held.add(Guarantee.CPU_LIMIT)
    if controllers and controllers.memory:
        held.add(Guarantee.MEMORY_LIMIT)
    if os.getuid() != 0 or (controllers and controllers.pids):
        held.add(Guarantee.PROCESS_LIMIT)
    yield held


async def test_the_guarantees_are_these(sandbox: Sandbox, limits_held: set[Guarantee]) -> None:
    g = Guarantee
    landlock = {g.NO_NETWORK, g.FILES_CONFINED, g.GIT_PROTECTED, g.NO_CAPABILITIES, g.TREE_KILLED, g.SYSCALL_FILTER}
    by_engine = sandbox.guarantees & {g.MEMORY_LIMIT, g.PROCESS_LIMIT, g.CPU_LIMIT}
    expected = {
        "bubblewrap": landlock | {g.PROCESSES_HIDDEN} | limits_held,
        "landlock": landlock | limits_held,
        "docker": landlock | {g.PROCESSES_HIDDEN, g.PROCESS_MEMORY_LIMIT, g.DISK_LIMIT} | by_engine,
        "none": set(),
    }
    assert sandbox.guarantees == expected[sandbox.name]
