"""Attacks on other processes, and on the end of one's own."""

from __future__ import annotations

import os
from typing import Any

from tests.escape.attack import HELD, LIMITS, Family, G
from tests.escape.inside import Held, any_of, call, fork, need, read, sh, write

attack = Family("processes")
SHORT = type(LIMITS)(**{**{name: getattr(LIMITS, name) for name in LIMITS.__slots__}, "wall_seconds": 1.5})
EVERYBODY = "it would end everything of the user's"
OTHERS = (G.PROCESSES_HIDDEN, G.SYSCALL_FILTER)


@attack(G.PROCESSES_HIDDEN)
def see_that_a_process_exists(host: Any) -> None:
    """Find a process of the host in /proc."""
    os.stat(f"/proc/{host.victim}")


@attack(G.FILES_CONFINED)
def read_the_environment_of_a_process(host: Any) -> None:
    """Read the variables of a process of the host, where keys often are."""
    need("SECRET" in read(f"/proc/{host.victim}/environ"))


@attack(G.FILES_CONFINED)
def read_the_environment_of_treadle(host: Any) -> None:
    """Read the variables and the arguments of Treadle itself."""
    any_of(lambda: need(read(f"/proc/{host.treadle}/environ")), lambda: need(read(f"/proc/{host.treadle}/cmdline")))


@attack(G.FILES_CONFINED, unwalled=HELD)
def find_a_secret_in_the_environment(host: Any) -> None:
    """Look for variables that were handed down."""
    need(
        set(os.environ)
        - {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PWD", "LC_CTYPE"}
    )


@attack(G.FILES_CONFINED)
def read_the_arguments_of_a_process(host: Any) -> None:
    """Read the command line of a process of the host: a password may stand there."""
    need(read(f"/proc/{host.victim}/cmdline"))


@attack(G.FILES_CONFINED)
def look_at_the_files_of_a_process(host: Any) -> None:
    """List what a process of the host has open, and where it is."""
    any_of(lambda: os.listdir(f"/proc/{host.victim}/fd"), lambda: os.readlink(f"/proc/{host.victim}/cwd"))


@attack(G.FILES_CONFINED)
def read_the_memory_of_a_process_by_proc(host: Any) -> None:
    """Read the memory of a process of the host, by the files of /proc."""
    first = read(f"/proc/{host.victim}/maps").splitlines()[0].split("-")[0]
    with open(f"/proc/{host.victim}/mem", "rb") as memory:
        memory.seek(int(first, 16))
        need(memory.read(16))


@attack(*OTHERS)
def read_the_memory_of_a_process(host: Any) -> None:
    """Read the memory of another process by a system call: of Treadle, of the victim, of one's own parent."""
    import ctypes

    target, local = ctypes.create_string_buffer(16), ctypes.create_string_buffer(16)
    there = (ctypes.c_void_p * 2)(ctypes.addressof(local), 16)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(target), 16)
    number = host.numbers["process_vm_readv"]
    for pid in (host.victim, host.treadle, os.getppid()):
        try:
            call(number, pid, here, 1, there, 1, 0)
            return
        except OSError as error:
            if error.errno == 14:  # the right was there, only the address was wrong
                return
    raise Held("refused")


@attack(*OTHERS)
def attach_to_a_process(host: Any) -> None:
    """Take over a process of the host, or the launcher, as a debugger would."""
    any_of(*(lambda pid=pid: call(host.numbers["ptrace"], 0x4206, pid, 0, 0) for pid in (host.victim, os.getppid())))


@attack(*OTHERS)
def kill_a_process(host: Any) -> None:
    """End a process of the host, by its id and by its group."""
    any_of(lambda: os.kill(host.victim, 9), lambda: os.killpg(host.victim, 9))


@attack(*OTHERS)
def kill_a_process_by_other_calls(host: Any) -> None:
    """The same by calls that filters forget: tgkill, rt_sigqueueinfo, pidfd."""
    import signal

    n = host.numbers
    information = (9).to_bytes(4, "little") + bytes(4) + (0xFFFFFFFF).to_bytes(4, "little") + bytes(116)
    any_of(
        lambda: call(n["tgkill"], host.victim, host.victim, 9),
        lambda: call(n["tkill"], host.victim, 9),
        lambda: call(n["rt_sigqueueinfo"], host.victim, 9, information),
        lambda: signal.pidfd_send_signal(os.pidfd_open(host.victim), 9),
    )


@attack(*OTHERS, by_host=True)
def have_the_kernel_signal_a_process(host: Any) -> None:
    """Make a process the owner of a pipe, so that the kernel sends it the signal."""
    import fcntl

    reader, writer = os.pipe()
    fcntl.fcntl(reader, 10, 9)  # F_SETSIG, SIGKILL
    fcntl.fcntl(reader, fcntl.F_SETOWN, host.victim)
    fcntl.fcntl(reader, fcntl.F_SETFL, fcntl.fcntl(reader, fcntl.F_GETFL) | os.O_ASYNC)
    os.write(writer, b"x")


@attack(*OTHERS)
def stop_a_process(host: Any) -> None:
    """Freeze a process of the host."""
    os.kill(host.victim, 19)


@attack(*OTHERS)
def signal_treadle(host: Any) -> None:
    """Send a signal to Treadle. 0 does nothing but ask whether one may."""
    any_of(lambda: os.kill(host.treadle, 0), lambda: os.killpg(os.getpgid(host.treadle), 0))


@attack(*OTHERS, unwalled=EVERYBODY, by_host=True)
def kill_all(host: Any) -> None:
    """End every process that one may."""
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(-1, 15)


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True, limits=SHORT)
def kill_the_parent(host: Any) -> None:
    """End the process that watches over the call, and live on."""
    try:
        os.kill(os.getppid(), 9)
    except OSError:
        pass
    os.execvp("sleep", ["sleep", host.mark])


@attack(*OTHERS)
def slow_a_process_down(host: Any) -> None:
    """Take priority, processors and memory from a process of the host."""
    import resource

    any_of(
        lambda: os.setpriority(0, host.victim, 19),
        lambda: os.sched_setaffinity(host.victim, [0]),
        lambda: resource.prlimit(host.victim, resource.RLIMIT_NOFILE, (1, 1)),
        lambda: write(f"/proc/{host.victim}/oom_score_adj", "1000"),
    )


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True)
def leave_a_daemon(host: Any) -> None:
    """Fork twice, in a session of one's own, deaf to all signals but one."""
    sh(f"(setsid sh -c 'trap \"\" TERM HUP INT; sleep {host.mark} & sleep {host.mark}' &) &")


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True)
def leave_a_daemon_that_holds_the_output(host: Any) -> None:
    """Keep the pipe of the output open, so that Treadle waits for its end."""
    os.system(f"setsid sleep {host.mark} &")


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True)
def leave_a_daemon_with_parents_of_its_own(host: Any) -> None:
    """Adopt orphans as the launcher does, and ask not to die with the parent."""
    import ctypes

    def child() -> None:
        os.setsid()
        libc = ctypes.CDLL(None)
        libc.prctl(36, 1, 0, 0, 0)
        libc.prctl(1, 0, 0, 0, 0)
        os.fork()
        os.execvp("sleep", ["sleep", host.mark])

    fork(child)


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True, limits=SHORT)
def flee_from_the_killer(host: Any) -> None:
    """Fork on and on, each child ending its parent, so that no list of processes is ever right."""
    script = "import os,sys\nwhile True:\n try:\n  if os.fork(): os._exit(0)\n  os.setsid()\n except OSError: pass\n"
    os.execvp("python", ["python", "-SIc", script, host.mark])


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True, limits=SHORT)
def stop_oneself(host: Any) -> None:
    """Freeze, so that the call never ends."""
    fork(lambda: os.execvp("sleep", ["sleep", host.mark]))
    os.kill(os.getpid(), 19)


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True, limits=SHORT)
def ignore_every_signal(host: Any) -> None:
    """Refuse to end at the wall time."""
    import signal

    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    os.execvp("sh", ["sh", "-c", f"while :; do sleep {host.mark}; done"])


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True, limits=SHORT)
def close_all_descriptors(host: Any) -> None:
    """End the output and go on working: a caller that waits for the pipes alone believes it is over."""
    os.closerange(0, 64)
    os.execvp("sleep", ["sleep", host.mark])


@attack(G.TREE_KILLED, unwalled=HELD, by_host=True)
def end_before_the_children(host: Any) -> None:
    """End while twenty threads and children are still being made."""
    import threading

    for _ in range(8):
        threading.Thread(target=os.system, args=(f"sleep {host.mark}",), daemon=True).start()
        fork(lambda: os.execvp("sleep", ["sleep", host.mark]))
