"""A small process between Treadle and an untrusted command, for backends without namespaces.

It starts the command under its limits and, where told so, under Landlock and seccomp; it adopts whatever the command
leaves behind and kills it; and it does so too when Treadle itself dies. It runs as `python -I -S -c ...`, outside the
walls that it builds for its child, and imports nothing heavy: its start is most of what a call costs.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import resource
import select
import signal
from _socket import socketpair  # `socket` itself is most of a millisecond of start-up
from typing import Any, NoReturn

from treadle.sandboxes import _kernel
from treadle.sandboxes._process_tree import kill_descendants
from treadle.sandboxes._questions import Answers, receive_descriptor, send_descriptor
from treadle.sandboxes._set_aside import SetAside

Spec = dict[str, Any]
"""Made by `_launched.py`: argv, env, cwd, parent, status, rlimits, groups, git_aside, confine."""


def main(descriptor: int) -> NoReturn:
    """Read the spec from a descriptor, run it, report on the status descriptor, exit."""
    with os.fdopen(descriptor, "rb") as file:
        spec: Spec = marshal.loads(file.read())
    status = spec["status"]
    os.set_inheritable(status, False)
    try:
        report = _launch(spec)
    except OSError as error:
        report = {"failed": str(error)}
    os.write(status, marshal.dumps(report))
    os._exit(0)


def _launch(spec: Spec) -> dict[str, Any]:
    wake = _listen_for_signals()
    _kernel.die_with_parent(signal.SIGTERM)
    _kernel.adopt_orphans()
    if os.getppid() != spec["parent"]:
        return {"failed": "Treadle ended before the command could start"}
    aside = spec["git_aside"]
    if not aside:
        try:
            return _run(spec, wake)
        finally:
            kill_descendants()
    if not _lock(spec["cwd"], wake):
        return {"failed": "stopped while another call used the workspace"}
    git = SetAside(spec["cwd"] + "/.git", aside)
    try:
        return _run(spec, wake)
    finally:
        kill_descendants()
        git.restore()


def _lock(folder: str, wake: int) -> bool:
    """One call at a time in a workspace whose `.git` is set aside. False if we were told to stop while waiting."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            ready, _, _ = select.select([wake], [], [], 0.01)
            if ready and signal.SIGTERM in os.read(wake, 512):
                return False


def _run(spec: Spec, wake: int) -> dict[str, Any]:
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
    code = _wait(pid, wake, answers)
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
        _kernel.die_with_parent(signal.SIGKILL)
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
        _reset_signals()
        for kind, soft, hard in spec["rlimits"]:
            resource.setrlimit(kind, (soft, hard))
        step = "exec"
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(trouble, marshal.dumps((error.errno or errno.EIO, step)))
    os._exit(127)


def _confine(confine: dict[str, Any], questions: Any) -> None:
    own = f"/proc/{os.getpid()}"
    rules = _kernel.landlock_rules(confine["abi"], [*confine["read"], own], confine["write"], confine["devices"])
    _kernel.no_new_privileges()
    _kernel.landlock_restrict(rules)
    _kernel.drop_capabilities()
    if confine["filter"]:
        listener = _kernel.seccomp(confine["filter"], listen=confine["listen"])
        if listener >= 0:
            send_descriptor(questions, listener)


def _listen_for_signals() -> int:
    """A pipe that becomes readable when a child ends or when we are told to stop."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    os.set_blocking(readable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return readable


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _wait(pid: int, wake: int, answers: Answers | None) -> int:
    """The command's code (128 + signal if one ended it), or SIGKILL's if we are told to stop. Reaps orphans too."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    if answers is not None:
        poll.register(answers.descriptor, select.POLLIN)
    while True:
        for descriptor, events in poll.poll():
            if answers is not None and descriptor == answers.descriptor:
                if events & select.POLLIN:
                    answers.answer()
                else:  # nobody is left who could ask
                    poll.unregister(descriptor)
            elif signal.SIGTERM in os.read(wake, 512):
                return 128 + signal.SIGKILL
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
