"""Attacks on the walls themselves: system calls that build new ones, shed old ones, or have had holes."""

from __future__ import annotations

import os
from typing import Any

from tests.escape.attack import AS_ROOT, HELD, Family, G
from tests.escape.inside import Held, any_of, call, fork, let_pass, need, read, write

attack = Family("kernel")
VARIES = "it depends on the kernel whether an ordinary process may"
MACHINE = "it would change this machine"


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def have_a_capability(host: Any) -> None:
    """Find any capability in any of one's sets."""
    status = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    need(any(int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")))


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def become_somebody_else(host: Any) -> None:
    """Change to another user, to root, or drop the groups that deny something."""
    any_of(
        lambda: os.setuid(12345), lambda: os.setgid(12345), lambda: os.setgroups([12345]), lambda: os.setresuid(0, 1, 2)
    )


@attack(G.NO_CAPABILITIES, unwalled="root may have them all")
def raise_a_capability(host: Any) -> None:
    """Ask for capabilities: by capset, by the ambient set, by the bounding set."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    header = (0x20080522).to_bytes(4, "little") + bytes(4)

    def checked(done: int) -> None:
        need(done == 0)

    any_of(
        lambda: checked(libc.capset(header, b"\xff\xff\xff\xff" * 2 + bytes(16))),
        lambda: checked(libc.prctl(47, 2, 21, 0, 0)),
    )


@attack(G.NO_CAPABILITIES)
def gain_rights_by_a_setuid_program(host: Any) -> None:
    """Run a program that lends its owner's rights: nothing has forbidden that it does."""
    need("NoNewPrivs:\t0" in read("/proc/self/status"))


@attack(G.SYSCALL_FILTER, unwalled=HELD)
def shed_the_filter(host: Any) -> None:
    """Switch seccomp off, or lay a filter over it that allows everything."""
    import ctypes

    libc = ctypes.CDLL(None)
    need(libc.prctl(22, 0, 0, 0, 0) == 0 and "Seccomp:\t0" in read("/proc/self/status"))


@attack(G.FILES_CONFINED)
def shed_the_walls_by_exec(host: Any) -> None:
    """Run another program, in a new session, and look whether the walls came along."""
    need(os.system(f"setsid -w sh -c 'cat {host.secret}' >/dev/null 2>&1") == 0)


@attack(G.FILES_CONFINED)
def run_a_program_from_memory(host: Any) -> None:
    """Run a program that lies in no file, so that no rule for files meets it."""
    descriptor = call(host.numbers["memfd_create"], b"x", 0)
    os.write(descriptor, f"#!/bin/sh\ncat {host.secret} >/dev/null 2>&1\n".encode())
    need(
        os.system(f"/proc/self/fd/{descriptor} 2>/dev/null || sh /proc/{os.getpid()}/fd/{descriptor} 2>/dev/null") == 0
    )


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def use_the_calls_of_32_bits(host: Any) -> None:
    """Enter the kernel by its old door, where calls have other numbers than the filter knows."""
    import ctypes
    import mmap

    if os.uname().machine != "x86_64":
        raise Held("no such door")
    code = bytes.fromhex(
        "53b8670100 00bb02000000b901000000ba00000000cd805bc3".replace(" ", "")
    )  # socket(INET, STREAM, 0)
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    need(ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0)


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def use_the_calls_of_x32(host: Any) -> None:
    """Add the bit that makes x32 calls of them."""
    call(0x40000000 | 41, 2, 1, 0)


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def mount_a_file_system(host: Any) -> None:
    """Make a file system to mount, and mount one over a folder of the workspace."""
    n = host.numbers
    os.mkdir("over")
    any_of(
        lambda: call(n["fsopen"], b"tmpfs", 0),
        lambda: call(n["open_tree"], -100, b".", 1),
        lambda: call(n["mount"], b"none", b"over", b"tmpfs", 0, None),
    )


@attack(G.NO_CAPABILITIES, unwalled=MACHINE)
def uncover_what_a_mount_covers(host: Any) -> None:
    """Unmount or remount what hides the host's files, and make changes reach the host's own mounts."""
    n = host.numbers
    any_of(
        lambda: call(n["umount2"], b".git", 2),
        lambda: call(n["mount"], None, b".", None, 0x20 | 0x1000, None),
        lambda: call(n["mount"], None, b".", None, 0x100000 | 0x4000, None),
        lambda: call(n["mount_setattr"], -100, b".", 0, bytes(32), 32),
    )


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def leave_by_chroot(host: Any) -> None:
    """Change the root twice, with a folder kept open (the oldest way out)."""
    os.mkdir("jail")
    kept = os.open(".", os.O_RDONLY)
    os.chroot("jail")
    os.fchdir(kept)
    for _ in range(20):
        os.chdir("..")
    os.chroot(".")
    read(host.secret)


@attack(G.NO_CAPABILITIES, unwalled=MACHINE)
def leave_by_pivot_root(host: Any) -> None:
    """Swap the root with another mount."""
    call(host.numbers["pivot_root"], b".", b".")


@attack(G.SYSCALL_FILTER)
def make_namespaces(host: Any) -> None:
    """Become root of new namespaces, where much more of the kernel can be reached."""
    any_of(
        lambda: call(host.numbers["unshare"], 0x10000000),
        lambda: call(host.numbers["unshare"], 0x10000000 | 0x00020000),
        lambda: need(os.system("unshare -Ur true 2>/dev/null") == 0),
    )


@attack(G.SYSCALL_FILTER, unwalled=AS_ROOT)
def make_namespaces_by_clone(host: Any) -> None:
    """The same by clone, and by clone3, whose flags a filter cannot see."""
    import ctypes

    def new_user(number: int, *arguments: object) -> None:
        pid = call(number, *arguments)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    flags = (0x10000000).to_bytes(8, "little") + bytes(24) + (17).to_bytes(8, "little") + bytes(24)
    any_of(
        lambda: new_user(host.numbers["clone"], 0x10000000 | 17, None, None, None, 0),
        lambda: new_user(host.numbers["clone3"], ctypes.create_string_buffer(flags, 64), 64),
    )


@attack(G.SYSCALL_FILTER, unwalled=AS_ROOT)
def enter_namespaces_of_the_host(host: Any) -> None:
    """Join the namespaces of another process, by its files in /proc or its pidfd."""

    def join(path: str) -> None:
        call(host.numbers["setns"], os.open(path, os.O_RDONLY), 0)

    pids = (host.victim, host.treadle, 1, os.getppid())
    any_of(
        *(lambda at=f"/proc/{pid}/ns/{kind}": join(at) for pid in pids for kind in ("mnt", "net", "uts", "ipc", "pid"))
    )


@attack(G.SYSCALL_FILTER)
def trace_a_process(host: Any) -> None:
    """Ask to be traced, or trace a child: from there one can change calls after a filter has seen them."""
    call(host.numbers["ptrace"], 0, 0, 0, 0)


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def use_io_uring(host: Any) -> None:
    """Have the kernel open files and sockets without a system call that a filter sees."""
    import ctypes

    let_pass(host.numbers["io_uring_setup"], 4, ctypes.create_string_buffer(120))


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def use_userfaultfd(host: Any) -> None:
    """Hold the kernel up in the middle of reading memory: half of many exploits."""
    let_pass(host.numbers["userfaultfd"], 0)
    call(host.numbers["userfaultfd"], 1)


@attack(G.SYSCALL_FILTER)
def load_a_program_into_the_kernel(host: Any) -> None:
    """Use bpf."""
    let_pass(host.numbers["bpf"], 999, None, 0)


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def count_events_of_the_processor(host: Any) -> None:
    """Watch other processes by performance counters."""
    import ctypes

    attributes = ctypes.create_string_buffer(b"\x01\0\0\0\x78", 128)
    let_pass(host.numbers["perf_event_open"], attributes, 0, -1, -1, 0)


@attack(G.SYSCALL_FILTER)
def use_the_keys_of_the_user(host: Any) -> None:
    """Read or add keys of the kernel's keyrings, which no namespace divides."""
    any_of(
        lambda: call(host.numbers["keyctl"], 0, -3, 0),
        lambda: call(host.numbers["add_key"], b"user", b"treadle", b"x", 1, -3),
        lambda: let_pass(host.numbers["request_key"], b"user", b"treadle", None, 0),
    )


@attack(G.SYSCALL_FILTER)
def compare_kernel_pointers(host: Any) -> None:
    """Find out by kcmp what processes share."""
    call(host.numbers["kcmp"], os.getpid(), os.getpid(), 0, 0, 0)


@attack(G.SYSCALL_FILTER, G.PROCESSES_HIDDEN)
def steal_a_descriptor(host: Any) -> None:
    """Take an open file out of another process."""
    descriptor = call(host.numbers["pidfd_open"], host.treadle, 0)
    call(host.numbers["pidfd_getfd"], descriptor, host.descriptor, 0)


@attack(G.SYSCALL_FILTER, unwalled=AS_ROOT)
def watch_all_files(host: Any) -> None:
    """Be told of each file that the machine opens."""
    call(host.numbers["fanotify_init"], 0, 0)


@attack(G.SYSCALL_FILTER, unwalled=AS_ROOT)
def read_the_log_of_the_kernel(host: Any) -> None:
    """Read the kernel's messages by its system call."""
    import ctypes

    call(host.numbers["syslog"], 3, ctypes.create_string_buffer(64), 64)


@attack(G.NO_CAPABILITIES, unwalled=MACHINE)
def set_the_clock(host: Any) -> None:
    """Change the time of the machine. The values given are impossible, so that asking changes nothing."""
    wrong = (0).to_bytes(8, "little") + (2 * 10**9).to_bytes(8, "little")
    any_of(
        lambda: let_pass(host.numbers["clock_settime"], 0, wrong),
        lambda: let_pass(host.numbers["settimeofday"], wrong, None),
        lambda: let_pass(host.numbers["adjtimex"], (0x4000).to_bytes(8, "little") + bytes(200)),
    )


@attack(G.NO_CAPABILITIES, unwalled=MACHINE)
def stop_the_machine(host: Any) -> None:
    """Reboot, load another kernel or a module. Asked for with wrong values."""
    n = host.numbers
    any_of(
        lambda: let_pass(n["reboot"], 1, 2, 3, None),
        lambda: let_pass(n["kexec_load"], 0, 99, None, 0),
        lambda: let_pass(n["init_module"], None, 0, b""),
        lambda: let_pass(n["finit_module"], -1, b"", 0),
        lambda: let_pass(n["delete_module"], b"no-such-module", 0),
        lambda: let_pass(n["swapon"], b"/no-such-file", 0),
    )


@attack(G.NO_CAPABILITIES, unwalled=MACHINE)
def rename_the_machine(host: Any) -> None:
    """Change the host name. Asked for with an impossible length."""
    let_pass(host.numbers["sethostname"], b"x", -1)


@attack(G.NO_CAPABILITIES, unwalled=MACHINE)
def touch_the_hardware(host: Any) -> None:
    """Ask for ports of the machine, and segments of one's own."""
    n = host.numbers
    any_of(
        lambda: call(n["iopl"], 3),
        lambda: call(n["ioperm"], 0x378, 1, 1),
        lambda: call(n["modify_ldt"], 1, b"\0" * 16, 16),
        lambda: let_pass(n["acct"], b"/no-such-file"),
        lambda: let_pass(n["quotactl"], 0x800002, None, 0, None),
    )


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def type_into_a_terminal(host: Any) -> None:
    """Put keystrokes into the terminal that Treadle was started from (CVE-2017-5226 of bubblewrap)."""
    import fcntl

    places = [0, 1, 2]
    for path in ("/dev/tty", host.terminal, "/dev/pts/0"):
        try:
            places.append(os.open(path, os.O_RDWR))
        except OSError:
            continue
    any_of(*(lambda at=at: fcntl.ioctl(at, 0x5412, b"x") for at in places))


@attack(G.SYSCALL_FILTER, unwalled=VARIES)
def paste_into_a_terminal(host: Any) -> None:
    """Type by way of the console's selection, which TIOCSTI's ban forgets (CVE-2023-1523 of snapd)."""
    import fcntl

    try:
        own, _ = os.openpty()
    except OSError:
        own = 0
    for request in (0x541C, 0x15412):
        try:
            fcntl.ioctl(own, request, b"\x03" + bytes(15))
            return
        except OverflowError:
            continue
        except OSError as error:
            if error.errno not in (1, 13, 25):
                return
    raise Held("refused")


@attack(G.NO_CAPABILITIES, unwalled=AS_ROOT)
def run_before_everybody(host: Any) -> None:
    """Take the processor for oneself, by real-time scheduling or priority."""
    any_of(
        lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
        lambda: os.setpriority(os.PRIO_PROCESS, 0, -10),
        lambda: write("/proc/self/oom_score_adj", "-1000"),
    )


@attack(unwalled="it depends on what root may")
def raise_a_limit(host: Any) -> None:
    """Set one's own limits higher than they were given."""
    import resource

    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)

    def more(kind: int) -> None:
        hard = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
        except ValueError as error:
            raise Held("not allowed") from error

    any_of(*(lambda kind=kind: more(kind) for kind in kinds))


@attack(G.FILES_CONFINED)
def leave_a_child_without_walls(host: Any) -> None:
    """Fork in the hope that walls are of a process and not of its children."""

    def child() -> None:
        os.setsid()
        read(host.secret)

    _, status = os.waitpid(fork(child), 0)
    need(status == 0)
