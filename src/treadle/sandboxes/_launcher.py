"""A small process between Treadle and an untrusted command, for backends without namespaces.

It starts the command under its limits and, where told so, under Landlock and seccomp; it adopts whatever the command
leaves behind and kills it; and it does so too when Treadle itself dies, which it notices by a pipe, its leash. It is
forked from a server that is started once by `python -I -S -c ...`: a new interpreter for each call would be most
of what a call costs. Both are outside the walls. The server imports nothing heavy: no typing, no signal, no socket.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import resource
import select
import sys
from _signal import SIG_DFL, SIG_IGN, SIGCHLD, signal  # type: ignore[import-not-found]  # `signal` brings enum
from _socket import socket, socketpair

from treadle.sandboxes import _kernel
from treadle.sandboxes._process_tree import SIGKILL, kill_descendants
from treadle.sandboxes._questions import Answers, receive_descriptor, send_descriptor
from treadle.sandboxes._set_aside import SetAside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Spec = dict[str, Any]
    """Made by `_launched.py`: argv, env, cwd, leash, status, rlimits, groups, git_aside, confine, at_end."""

_DESCRIPTORS_SPACE = 256
_OWN = (
    *("auxv", "cgroup", "cmdline", "comm", "environ", "fd", "fdinfo", "io", "limits", "maps", "oom_score"),
    *("personality", "sched", "schedstat", "smaps", "smaps_rollup", "stat", "statm", "status", "wchan"),
)
"""What the command may read of itself. Not all of its folder: `net` shows the connections of the host."""
_LOCK_MILLISECONDS = 10
_REAP_MILLISECONDS = 250
"""How long an orphan may lie dead before it is reaped; until then it counts against the process limit."""


def serve(descriptor: int) -> NoReturn:
    """Become a launcher's parent for each request that comes in: a fork of what is loaded already, and nothing else.

    A request is one byte with six descriptors: stdin, stdout, stderr, spec, status, leash. Ends with who sends them.
    """
    channel = socket(fileno=descriptor)
    signal(SIGCHLD, SIG_IGN)  # nobody waits for launchers: their reports tell of their end
    while True:
        request, ancillary, _, _ = channel.recvmsg(1, _DESCRIPTORS_SPACE)
        if not request:
            os._exit(0)
        received = ancillary[0][2] if ancillary else b""
        descriptors = [int.from_bytes(received[at : at + 4], sys.byteorder) for at in range(0, len(received), 4)]
        try:
            pid = os.fork()
        except OSError:  # whoever asked sees that nobody has the descriptors any more
            pid = -1
        if pid == 0:
            channel.close()
            signal(SIGCHLD, SIG_DFL)
            os.setsid()
            for number, inherited in enumerate(descriptors[:3]):
                os.dup2(inherited, number)
                os.close(inherited)
            _main(*descriptors[3:])
        for inherited in descriptors:
            os.close(inherited)


def _main(spec_file: int, status: int, leash: int) -> NoReturn:
    """Tell who we are, read the spec, run it, report, exit."""
    for inherited in (spec_file, status, leash):
        os.set_inheritable(inherited, False)
    os.write(status, marshal.dumps(os.getpid()))
    with os.fdopen(spec_file, "rb") as file:
        spec: Spec = marshal.loads(file.read())
    spec |= {"status": status, "leash": leash, "ended": False}
    try:
        report = _launch(spec)
    except OSError as error:
        report = {"failed": str(error)}
    os.write(status, marshal.dumps(report))
    os._exit(0)


def _launch(spec: Spec) -> dict[str, Any]:
    _kernel.adopt_orphans()
    aside = spec["git_aside"]
    if not aside:
        try:
            return _run(spec)
        finally:
            _end(spec)
    if not _lock(spec["cwd"], spec["leash"]):
        return {"failed": "stopped while another call used the workspace"}
    git = SetAside(spec["cwd"] + "/.git", aside)
    try:
        return _run(spec)
    finally:
        _end(spec)
        git.restore()


def _end(spec: Spec) -> None:
    """Leave nothing behind: neither below us, nor what a service started for us."""
    if spec["at_end"] and not spec["ended"]:
        kill_descendants()
        pid = os.fork()
        if pid == 0:
            devnull = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(devnull, descriptor)
            try:
                os.execvpe(spec["at_end"][0], spec["at_end"], spec["env"])
            except OSError:
                os._exit(127)
        os.waitpid(pid, 0)
    kill_descendants()


def _lock(folder: str, leash: int) -> bool:
    """One call at a time in a workspace whose `.git` is set aside. False if we were told to stop while waiting."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if poll.poll(_LOCK_MILLISECONDS):
                return False


def _run(spec: Spec) -> dict[str, Any]:
    trouble, trouble_end = os.pipe()
    questions, questions_end = socketpair()
    confine = spec["confine"]
    pid = os.fork()
    if pid == 0:
        _become_command(spec, trouble_end, questions_end)
    os.close(trouble_end)
    questions_end.close()
    answers = None
    if confine is not None and confine["listen"]:
        listener = receive_descriptor(questions)
        answers = Answers(listener, confine["write"]) if listener is not None else None
    questions.close()
    code = _wait(pid, spec["leash"], answers)
    spec["ended"] = code < 128
    said = os.read(trouble, 4096)
    if said:
        number, where = marshal.loads(said)
        return {"not_run": number} if where == "exec" else {"failed": f"{where}: {os.strerror(number)}"}
    return {"exit": code}


def _become_command(spec: Spec, trouble: int, questions: Any) -> NoReturn:
    """In the child: set up everything and exec; tell the launcher what failed."""
    step = "session"
    try:
        os.setsid()
        step = "parent"
        _kernel.die_with_parent(SIGKILL)
        step = "cgroup"
        for file in spec["groups"]:
            with open(file, "w") as procs:
                procs.write("0")
        step = "folder"
        os.chdir(spec["cwd"])
        confine = spec["confine"]
        if confine is not None:
            step = "landlock"
            _confine(confine, questions)
        step = "limits"
        _kernel.default_signals()
        for kind, soft, hard in spec["rlimits"]:
            resource.setrlimit(kind, (soft, hard))
        step = "exec"
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(trouble, marshal.dumps((error.errno or errno.EIO, step)))
    os._exit(127)


def _confine(confine: dict[str, Any], questions: Any) -> None:
    own = [f"/proc/{os.getpid()}/{name}" for name in _OWN]
    rules = _kernel.landlock_rules(confine["abi"], [*confine["read"], *own], confine["write"], confine["devices"])
    _kernel.no_new_privileges()
    _kernel.landlock_restrict(rules)
    _kernel.drop_capabilities()
    if confine["filter"]:
        listener = _kernel.seccomp(confine["filter"], listen=confine["listen"])
        if listener >= 0:
            send_descriptor(questions, listener)


def _wait(pid: int, leash: int, answers: Answers | None) -> int:
    """The command's code (128 + signal if one ended it), or SIGKILL's if the leash is pulled. Reaps orphans too."""
    poll = select.poll()
    poll.register(leash, select.POLLIN)
    wait_milliseconds = _REAP_MILLISECONDS
    if hasattr(os, "pidfd_open"):
        poll.register(os.pidfd_open(pid), select.POLLIN)
    else:  # macOS: look again and again
        wait_milliseconds = 10
    if answers is not None:
        poll.register(answers.descriptor, select.POLLIN)
    while True:
        for descriptor, events in poll.poll(wait_milliseconds):
            if descriptor == leash:
                return 128 + SIGKILL
            if answers is not None and descriptor == answers.descriptor:
                if events & select.POLLIN:
                    answers.answer()
                else:  # nobody is left who could ask
                    poll.unregister(descriptor)
        code = _reap(pid)
        if code is not None:
            return code


def _reap(pid: int) -> int | None:
    """Reap every child that has ended; the code of `pid` if it is among them."""
    code = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if ended == 0:
            return code
        if ended == pid:
            number = os.waitstatus_to_exitcode(status)
            code = number if number >= 0 else 128 - number
