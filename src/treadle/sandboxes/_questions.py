"""Answers the system calls that Landlock does not see: changes of mode and time; in old versions size and signals.

The filter stops such a call and asks us. We make the change ourselves, on a descriptor whose real path we have checked,
so that the caller cannot swap the file between check and change. A signal passes only to a process of the sandbox.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

from treadle.sandboxes._process_tree import all_pids, descendants, group_of, leader_of
from treadle.sandboxes._seccomp_numbers import NUMBERS, column_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RECEIVE, _SEND, _STILL_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CONTINUE = 1
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_UTIME_NOW, _UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
_PATH_MAX = 4096


def send_descriptor(channel: Any, descriptor: int) -> None:
    """Hand a descriptor to the other process and forget it."""
    channel.sendmsg([b"."], [(1, 1, struct.pack("i", descriptor))])  # SOL_SOCKET, SCM_RIGHTS
    os.close(descriptor)


def receive_descriptor(channel: Any) -> int | None:
    """The descriptor sent by `send_descriptor`; None if the sender ended without it."""
    _, ancillary, _, _ = channel.recvmsg(1, 64)
    return int(struct.unpack("i", ancillary[0][2][:4])[0]) if ancillary else None


class Answers:
    """Answers the questions that come in on a seccomp listener."""

    def __init__(self, descriptor: int, writable: list[str]) -> None:
        self.descriptor = descriptor
        self._roots = [os.path.realpath(path) for path in writable]
        column = column_of(os.uname().machine)
        self._names = {numbers[column]: name for name, numbers in NUMBERS.items() if numbers[column] >= 0}

    def answer(self) -> None:
        """Take one question and answer it. A caller that has died meanwhile is no error."""
        question = bytearray(80)
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, question)
        except OSError:
            return
        identity, pid, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", question)
        result, flags = 0, 0
        try:
            flags = self._decide(identity, pid, self._names.get(number, ""), arguments)
        except OSError as error:
            result = -(error.errno or errno.EPERM)
        except (ValueError, struct.error):
            result = -errno.EPERM
        try:
            fcntl.ioctl(self.descriptor, _SEND, struct.pack("=QqiI", identity, 0, result, flags))
        except OSError:
            pass

    def _decide(self, identity: int, pid: int, name: str, a: list[int]) -> int:
        """Do it, or raise what the caller shall see. Returns the flags of the answer."""
        if name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
            _check_signal(_signed(a[0]))
            return _CONTINUE
        if "chown" in name:
            _check_owner(*(a[2:4] if name == "fchownat" else a[1:3]))
        elif name == "fchmod":
            self._chmod(_open_descriptor(pid, a[0]), a[1])
        elif name == "chmod":
            self._chmod(self._open(identity, pid, _AT_FDCWD, a[0], 0), a[1])
        elif name in ("fchmodat", "fchmodat2"):
            self._chmod(self._open(identity, pid, _signed(a[0]), a[1], a[3] if name == "fchmodat2" else 0), a[2])
        elif name == "utimensat":
            self._utime(identity, pid, a)
        elif name == "truncate":
            self._truncate(self._open(identity, pid, _AT_FDCWD, a[0], 0), a[1])
        else:
            raise PermissionError(errno.EPERM, name)
        return 0

    def _chmod(self, target: int, mode: int) -> None:
        try:
            self._check_inside(target)
            os.chmod(f"/proc/self/fd/{target}", mode & 0o1777)
        finally:
            os.close(target)

    def _truncate(self, target: int, size: int) -> None:
        """Only to make it smaller: nobody limits what a file of ours grows to."""
        try:
            self._check_inside(target)
            path = f"/proc/self/fd/{target}"
            if size > os.stat(path).st_size:
                raise OSError(errno.EFBIG, "growing a file by its path")
            os.truncate(path, size)
        finally:
            os.close(target)

    def _utime(self, identity: int, pid: int, a: list[int]) -> None:
        times = _read_memory(identity, self.descriptor, pid, a[2], 32) if a[2] else None
        target = self._open(identity, pid, _signed(a[0]), a[1], a[3]) if a[1] else _open_descriptor(pid, a[0])
        try:
            self._check_inside(target)
            path = f"/proc/self/fd/{target}"
            if times is None:
                os.utime(path)
            else:
                os.utime(path, ns=_times(times, os.stat(path)))
        finally:
            os.close(target)

    def _open(self, identity: int, pid: int, folder: int, address: int, flags: int) -> int:
        """An O_PATH descriptor of what the caller named."""
        raw = _read_memory(identity, self.descriptor, pid, address, _PATH_MAX)
        path = os.fsdecode(raw.split(b"\0", 1)[0])
        if not path:
            if flags & _AT_EMPTY_PATH:
                return _open_descriptor(pid, folder)
            raise FileNotFoundError(errno.ENOENT, path)
        base = f"/proc/{pid}/cwd" if folder == _AT_FDCWD else f"/proc/{pid}/fd/{folder}"
        path = os.path.join(base, path)
        for own in ("/proc/self/", "/proc/thread-self/"):  # means the caller, not us
            if path.startswith(own):
                path = f"/proc/{pid}/{path[len(own) :]}"
        return os.open(path, os.O_PATH | os.O_CLOEXEC | (os.O_NOFOLLOW if flags & _AT_SYMLINK_NOFOLLOW else 0))

    def _check_inside(self, target: int) -> None:
        real = os.readlink(f"/proc/self/fd/{target}")
        if not any(real == root or real.startswith(root + "/") for root in self._roots):
            raise PermissionError(errno.EPERM, real)


def _open_descriptor(pid: int, number: int) -> int:
    return os.open(f"/proc/{pid}/fd/{_signed(number)}", os.O_PATH | os.O_CLOEXEC)


def _read_memory(identity: int, listener: int, pid: int, address: int, size: int) -> bytes:
    """Of the caller; up to the end of its last readable page."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Only now is it certain that the pid was still the caller's when we opened its memory.
        fcntl.ioctl(listener, _STILL_VALID, struct.pack("=Q", identity))
        data = b""
        while len(data) < size:
            page_end = 4096 - (address + len(data)) % 4096
            try:
                data += os.pread(memory, min(page_end, size - len(data)), address + len(data))
            except OSError:
                break
            if b"\0" in data and size == _PATH_MAX:
                break
        if not data:
            raise OSError(errno.EFAULT, "unreadable address")
        return data
    finally:
        os.close(memory)


def _times(raw: bytes, now: os.stat_result) -> tuple[int, int]:
    seconds_1, nanos_1, seconds_2, nanos_2 = struct.unpack("=qqqq", raw)

    def one(seconds: int, nanos: int, old: int) -> int:
        if nanos == _UTIME_OMIT:
            return old
        return time.time_ns() if nanos == _UTIME_NOW else seconds * 1_000_000_000 + nanos

    return one(seconds_1, nanos_1, now.st_atime_ns), one(seconds_2, nanos_2, now.st_mtime_ns)


def _check_owner(user: int, group: int) -> None:
    """Nothing is ever given away, so nothing needs to be done: only no change is allowed."""
    if _signed(user) not in (-1, os.getuid()) or _signed(group) not in (-1, os.getgid()):
        raise PermissionError(errno.EPERM, "chown")


def _check_signal(target: int) -> None:
    """Only to a descendant of ours, or to a group of nothing else; never to all (-1) or to the launcher.

    0 is the caller's own group, which cannot hold anybody else: the command began a session of its own.
    """
    if target == 0:
        return
    inside = set(descendants(os.getpid()))
    if target > 0:
        allowed = leader_of(target) in inside
    else:
        members = [pid for pid in all_pids() if group_of(pid) == -target]
        allowed = target != -1 and bool(members) and inside.issuperset(members)
    if not allowed:
        raise PermissionError(errno.EPERM, "kill")


def _signed(value: int) -> int:
    """The low 32 bits as a C int."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
