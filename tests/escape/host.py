"""The host that attacks are after: things that nobody may touch or see, and the look at them afterwards."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pty
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from treadle.sandboxes._seccomp_numbers import NUMBERS, column_of

_SETTINGS = (
    *(
        "core_pattern",
        "hostname",
        "domainname",
        "modprobe",
        "hotplug",
        "sysrq",
        "panic",
        "printk",
        "randomize_va_space",
    ),
)
_OF_THE_MACHINE = (*(f"/proc/sys/kernel/{name}" for name in _SETTINGS), "/sys/kernel/uevent_helper")
_OTHER_NUMBERS = {  # that no filter names: x86_64, aarch64
    "name_to_handle_at": (303, 264),
    "renameat2": (316, 276),
    "memfd_create": (319, 279),
    "inotify_init1": (294, 26),
    "getpid": (39, 172),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setresuid": (117, 147),
    "msync": (26, 227),
    "mlockall": (151, 230),
}


class Host:
    """A folder with a workspace in it, and what lies around it. A context; what it started ends with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.secret = folder / "secret.txt"
        self.token = secrets.token_hex(12)
        self.mark = f"4{secrets.randbelow(10**9):09d}"
        """Stands in the command line of whatever an attack leaves running."""
        self._stack = ExitStack()
        self.noticed: list[str] = []
        """What the listeners heard."""

    def __enter__(self) -> Host:
        self._make_files()
        self._listen()
        self._make_terminal()
        self._victim()
        self._make_shared_memory()
        self._before = self.state()
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self.leftovers():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._stack.close()
        self._unlock()

    def _make_files(self) -> None:
        self.workspace.mkdir(parents=True)
        (self.workspace / "kept.txt").write_text("kept")
        hooks = self.workspace / ".git" / "hooks"
        hooks.mkdir(parents=True)
        for name in ("objects", "refs"):
            (hooks.parent / name).mkdir()
        (hooks.parent / "HEAD").write_text("ref: refs/heads/main\n")
        (self.workspace / ".git" / "config").write_text(f"[remote]\n\ttoken = {self.token}\n")
        (self.folder / "other").mkdir()
        (self.folder / "tmp").mkdir()
        self.secret.write_text(self.token)
        self.secret.chmod(0o640)
        with suppress(OSError):  # not every file system has them
            os.setxattr(self.secret, "user.note", self.token.encode())
        os.utime(self.secret, (1, 1))
        (self.folder / "link").symlink_to(f"/{self.token}")
        os.mkfifo(self.folder / "pipe")
        reader = os.open(self.folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        self._stack.callback(os.close, reader)
        self._pipe = reader
        self._inherited = os.open(self.secret, os.O_RDONLY)
        os.set_inheritable(self._inherited, True)
        self._stack.callback(os.close, self._inherited)
        was = tempfile.tempdir
        tempfile.tempdir = str(self.folder / "tmp")
        self._stack.callback(setattr, tempfile, "tempdir", was)

    def _listen(self) -> None:
        self._servers: dict[str, socket.socket] = {}
        for name, family, kind, address in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("unix", socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / "sock")),
            ("unix_datagram", socket.AF_UNIX, socket.SOCK_DGRAM, str(self.folder / "dgram")),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0treadle-{self.mark}"),
            ("in_workspace", socket.AF_UNIX, socket.SOCK_STREAM, str(self.workspace / "host.sock")),
        ):
            server = self._stack.enter_context(socket.socket(family, kind))
            server.bind(address)
            server.setblocking(False)
            if kind == socket.SOCK_STREAM:
                server.listen()
            self._servers[name] = server

    def _make_terminal(self) -> None:
        self._terminal, self._tty = pty.openpty()
        os.set_blocking(self._terminal, False)
        self._stack.callback(os.close, self._terminal)
        self._stack.callback(os.close, self._tty)

    def _victim(self) -> None:
        """A process of the user's that has nothing to do with the call."""
        argv = [
            sys.executable,
            "-IS",
            "-c",
            "import time\nsecret = 'held'\nprint(flush=True)\ntime.sleep(900)",
            self.token,
        ]
        self.victim = subprocess.Popen(argv, env={"SECRET": self.token}, start_new_session=True, stdout=subprocess.PIPE)
        assert self.victim.stdout is not None
        self.victim.stdout.readline()
        self._stack.callback(self.victim.stdout.close)
        self._stack.callback(self.victim.wait)
        self._stack.callback(self.victim.kill)

    def _make_shared_memory(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._segment = libc.shmget(int(self.mark) & 0x7FFFFFFF, 4096, 0o1600)
        libc.shmat.restype = ctypes.c_void_p
        address = libc.shmat(self._segment, None, 0)
        ctypes.memmove(address, self.token.encode(), len(self.token))
        self._shared = (ctypes.c_char * len(self.token)).from_address(address)
        self._stack.callback(libc.shmctl, self._segment, 0, None)
        self._stack.callback(libc.shmdt, ctypes.c_void_p(address))
        file = Path(f"/dev/shm/treadle-{self.mark}")
        file.write_text(self.token)
        self._stack.callback(file.unlink)
        self._shm_file = file

    def facts(self) -> dict[str, Any]:
        """What an attacker could find out or guess."""
        column = column_of(os.uname().machine)
        numbers = {name: row[column] for name, row in {**NUMBERS, **_OTHER_NUMBERS}.items()}
        return {
            "folder": str(self.folder),
            "workspace": str(self.workspace),
            "secret": str(self.secret),
            "victim": self.victim.pid,
            "treadle": os.getpid(),
            "descriptor": self._inherited,
            "terminal": os.ttyname(self._tty),
            "mark": self.mark,
            "key": int(self.mark) & 0x7FFFFFFF,
            "numbers": numbers,
            "ports": {name: self._servers[name].getsockname()[1] for name in ("tcp", "tcp6", "udp")},
            "token_sha": hashlib.sha256(self.token.encode()).hexdigest(),
            "home": os.path.expanduser("~"),
            "at_home": [path.name for path in _entries(Path.home()) if path.is_file()],
            "hostname": socket.gethostname(),
            "site": str(Path(os.__file__).parent),
        }

    def changes(self) -> list[str]:
        """What is not as it was."""
        after = self.state()
        found = [name for name in after.keys() | self._before.keys() if after.get(name) != self._before.get(name)]
        return sorted(found) + self._heard() + self._planted() + [f"process {pid} is left" for pid in self.leftovers()]

    def state(self) -> dict[str, object]:
        """All that must stay as it is."""
        return {
            **self._files_state(),
            **{path: _content(path) for path in _OF_THE_MACHINE},
            "mounts": _mounts(),
            "python": _marks(Path(os.__file__)) + _marks(Path(os.__file__).parent) + _marks(Path(sys.prefix)),
            "victim": self._victim_state(),
            "treadle": (os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0), _content("/proc/self/limits")),
            "shared memory": (bytes(self._shared), self._shm_file.read_text()),
        }

    def _files_state(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in [self.folder, *self._around(self.folder)]:
            found[str(path)] = _marks(path)
        git = self.workspace / ".git"
        for path in [git, *self._around(git)] if os.path.lexists(git) else []:
            found[str(path)] = _marks(path)[:3] + _marks(path)[-1:]
        found["workspace"] = self.workspace.stat().st_ino if self.workspace.exists() else None
        return found

    def _around(self, folder: Path) -> Iterator[Path]:
        for path in sorted(_entries(folder)):
            if path != self.workspace:
                yield path
                if path.is_dir() and not path.is_symlink():
                    yield from self._around(path)

    def _victim_state(self) -> tuple[object, ...]:
        pid = self.victim.pid
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        is_stopped = fields[0] in "TtZX"
        return (
            is_stopped,
            fields[16],
            os.sched_getaffinity(pid),
            _content(f"/proc/{pid}/limits"),
            _content(f"/proc/{pid}/oom_score_adj"),
        )

    def _heard(self) -> list[str]:
        heard = []
        for name, server in self._servers.items():
            with suppress(BlockingIOError):
                if server.type == socket.SOCK_DGRAM:
                    server.recv(100)
                else:
                    server.accept()[0].close()
                heard.append(f"{name} was reached")
        for name, descriptor in (("pipe", self._pipe), ("terminal", self._terminal)):
            with suppress(OSError):
                if os.read(descriptor, 100):
                    heard.append(f"{name} was written to")
        return heard

    def _planted(self) -> list[str]:
        """What no workspace may hold: it lends rights, or it is a way to a device."""
        found = []
        for folder, folders, files in os.walk(self.workspace) if not self.workspace.is_symlink() else ():
            for name in folders + files:
                path = os.path.join(folder, name)
                status = os.lstat(path)
                if status.st_mode & 0o6000 or stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
                    found.append(f"{name} has mode {status.st_mode:o}")
                if status.st_uid != os.getuid():
                    found.append(f"{name} belongs to {status.st_uid}")
                if "security.capability" in os.listxattr(path, follow_symlinks=False):
                    found.append(f"{name} has capabilities")
        return found

    def leftovers(self) -> list[int]:
        """Processes that an attack started, by the mark in their command line."""
        found = []
        for entry in os.listdir("/proc"):
            with suppress(OSError):
                ours = not entry.isdigit() or int(entry) == os.getpid()
                if not ours and self.mark.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
        return found

    def _unlock(self) -> None:
        shutil.rmtree(self.workspace, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _mounts() -> list[str]:
    """Where something is mounted; but for what engines of containers mount for themselves, ours and others'."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted(place for place in places if not place.startswith(("/var/lib/", "/run/", "/var/run/")))


def _content(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError as error:
        return str(error.errno)


def _marks(path: Path) -> tuple[object, ...]:
    """Everything about a file but when it was read."""
    status = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
    attributes = tuple(os.listxattr(path, follow_symlinks=False))
    # The workspace is a neighbour: setting its .git aside touches the times of the folder that both lie in.
    times = () if stat.S_ISDIR(status.st_mode) else (status.st_mtime_ns, status.st_nlink)
    return status.st_mode, status.st_uid, status.st_gid, status.st_ino, *times, attributes, content
