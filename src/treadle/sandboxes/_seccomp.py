"""The system call filter, as a BPF program of our own: small enough to read, and no library that could be missing.

It denies what tests and builds have no business with: the walls are the namespaces or Landlock, and this keeps
untrusted code away from the parts of the kernel where holes in those walls have been found.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from dataclasses import dataclass

from treadle.sandboxes._seccomp_numbers import MACHINES, NUMBERS

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
_KILL = 0x80000000
_ERRNO = 0x00050000

_LOAD, _JEQ, _JGE, _JSET, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_NR, _ARCH = 0, 4
_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET. NEWTIME is no flag of clone, and clone3 and unshare are denied."""
_X32 = 0x40000000
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def refuse(number: int) -> int:
    """The filter's answer for: fail with this errno."""
    return _ERRNO | number


def errno_of(answer: int) -> int:
    """The errno in an answer that `refuse` made."""
    if answer & ~0xFFFF != _ERRNO:
        raise ValueError(f"{answer:#x} does not refuse")
    return answer & 0xFFFF


_NEVER = """
    ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise process_mrelease
    io_uring_setup io_uring_enter io_uring_register userfaultfd bpf perf_event_open keyctl add_key request_key
    mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr setns unshare
    kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl quotactl_fd
    settimeofday clock_settime clock_adjtime syslog vhangup iopl ioperm modify_ldt open_by_handle_at fanotify_init
"""
_SCHEDULING = """
    prlimit64 sched_setaffinity sched_setparam sched_setscheduler sched_setattr migrate_pages move_pages
"""
_SHARED_MEMORY = """
    shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink
"""
_ATTRIBUTES = """
    setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr setxattrat removexattrat file_setattr
    getxattr lgetxattr getxattrat listxattr llistxattr listxattrat
"""
_MODE_AND_TIME = "chmod fchmod fchmodat fchmodat2 utimensat chown fchown lchown fchownat"
_OLD_TIME = "utime utimes futimesat"
_SIGNALS = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"
_SIGNALS_BY_DESCRIPTOR = "pidfd_open pidfd_send_signal"


@dataclass(frozen=True, slots=True)
class Check:
    """Look at one argument (its low 32 bits, or all 64 for zero tests).

    `test` is one of: `any` bits of `values` set, `in` values, `not in` values, `nonzero`. `mask` is applied first.
    """

    argument: int
    test: str
    values: tuple[int, ...] = ()
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Rule:
    """One system call: what to answer, and on which condition (None: always)."""

    call: str
    answer: int
    check: Check | None = None


EPERM = refuse(errno.EPERM)
_SET_ID = 0o6000
COMMON = (
    *(Rule(call, EPERM) for call in _NEVER.split()),
    # The flags of clone3 lie in memory, out of the filter's sight; without it, libc falls back to clone.
    Rule("clone3", refuse(errno.ENOSYS)),
    Rule("clone", EPERM, Check(0, "any", (_NAMESPACES,))),
    Rule("ioctl", EPERM, Check(1, "in", (0x5412, 0x541C))),  # TIOCSTI, TIOCLINUX: typing into somebody's terminal
    # A setuid file in the workspace would lend the caller's rights, root's perhaps, to every user of the host.
    Rule("openat2", refuse(errno.ENOSYS)),
    *(
        Rule(call, EPERM, Check(argument, "any", (_SET_ID,)))
        for call, argument in (
            ("open", 2),
            ("openat", 3),
            ("creat", 1),
            ("mknod", 1),
            ("mknodat", 2),
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("fchmodat2", 2),
        )
    ),
)
OWN_NETWORK = (
    # AF_UNIX, INET, INET6, NETLINK. Others reach past a network namespace (vsock) or are old attack surface (alg).
    Rule("socket", refuse(errno.EAFNOSUPPORT), Check(0, "not in", (1, 2, 10, 16))),
)
_SOCKET_TYPE = 0xF
SHARED_WITH_HOST = (
    # Landlock before ABI 9 does not see connect() to a socket file, and never a UDP packet: no socket but a pair.
    Rule("socket", refuse(errno.EACCES)),
    Rule("socketpair", refuse(errno.EACCES), Check(0, "not in", (1,))),
    # A datagram pair can still send to any socket file by name; stream (1) and seqpacket (5) pairs cannot.
    Rule("socketpair", refuse(errno.EACCES), Check(1, "not in", (1, 5), _SOCKET_TYPE)),
    # Limits, priorities and memory placement of the host's processes.
    *(Rule(call, EPERM, Check(0, "nonzero")) for call in _SCHEDULING.split()),
    *(Rule(call, EPERM, Check(argument, "nonzero")) for call in ("setpriority", "ioprio_set") for argument in (0, 1)),
    # System V and POSIX message queues, semaphores and shared memory: one name space for all of the host.
    *(Rule(call, refuse(errno.ENOSYS)) for call in _SHARED_MEMORY.split()),
    # The names of files that somebody opens in a folder which Landlock lets nobody list.
    Rule("inotify_add_watch", refuse(errno.EACCES)),
    # Extended attributes and inode flags of files that Landlock lets nobody open. Tools accept "not supported".
    *(Rule(call, refuse(errno.EOPNOTSUPP)) for call in _ATTRIBUTES.split()),
    Rule("ioctl", EPERM, Check(1, "in", (0x40086602, 0x40046602, 0x401C5820))),  # FS_IOC_SETFLAGS (64, 32), FSSETXATTR
)
ASKED = tuple(Rule(call, NOTIFY) for call in _MODE_AND_TIME.split())
UNASKED = tuple(Rule(call, EPERM) for call in _OLD_TIME.split())
BEFORE_TRUNCATE_RIGHT = (Rule("truncate", NOTIFY),)
"""Landlock before ABI 3: cutting a file off by its path is not seen."""
BEFORE_SIGNAL_SCOPE = (
    *(Rule(call, NOTIFY) for call in _SIGNALS.split()),
    *(Rule(call, EPERM) for call in _SIGNALS_BY_DESCRIPTOR.split()),
    Rule("fcntl", EPERM, Check(1, "in", (8, 15))),  # F_SETOWN, F_SETOWN_EX: have the kernel send the signal
)
"""Landlock before ABI 6: signals reach every process of the user."""


@functools.cache
def program(rules: tuple[Rule, ...], machine: str = "") -> bytes | None:
    """The filter as an array of `struct sock_filter`; None for a machine whose call numbers we do not have."""
    machine = machine or os.uname().machine
    if machine not in MACHINES:
        return None
    column = MACHINES.index(machine)
    code = [(_LOAD, 0, 0, _ARCH), (_JEQ, 1, 0, _AUDIT_ARCH[machine]), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NR)]
    if machine == "x86_64":
        code += [(_JGE, 0, 1, _X32), (_RETURN, 0, 0, refuse(errno.ENOSYS))]
    for rule in rules:
        number = NUMBERS[rule.call][column]
        if number >= 0:
            body = _body(rule)
            code += [(_JEQ, 0, len(body), number), *body]
    code.append((_RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _body(rule: Rule) -> list[tuple[int, int, int, int]]:
    """Instructions that answer, or reload the call number and fall through to the next rule."""
    answer = (_RETURN, 0, 0, rule.answer)
    reload = (_LOAD, 0, 0, _NR)
    check = rule.check
    if check is None:
        return [answer]
    low = 16 + 8 * check.argument
    load = [(_LOAD, 0, 0, low), (_AND, 0, 0, check.mask)]
    values = check.values
    if check.test == "any":
        return [*load, (_JSET, 0, 1, values[0]), answer, reload]
    if check.test == "nonzero":
        return [(_LOAD, 0, 0, low), (_JEQ, 0, 2, 0), (_LOAD, 0, 0, low + 4), (_JEQ, 1, 0, 0), answer, reload]
    if check.test == "in":
        jumps = [(_JEQ, len(values) - 1 - i, 0 if i < len(values) - 1 else 1, value) for i, value in enumerate(values)]
        return [*load, *jumps, answer, reload]
    jumps = [(_JEQ, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*load, *jumps, answer, reload]
