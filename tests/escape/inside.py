"""What an attack has at hand inside the sandbox. Its source is sent along before the attack's own.

An attack that is refused raises OSError, or `Held` where the kernel says nothing. One that returns has got through.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

HELD = 77
"""The exit code of an attack that was refused."""


class Held(OSError):
    """The attack came to nothing."""


def need(got: object) -> None:
    """Go on only if the attack got something."""
    if not got:
        raise Held("it came to nothing")


def read(path: str, size: int = 65536) -> str:
    with open(path, "rb") as file:
        return file.read(size).decode("utf-8", "replace")


def write(path: str, text: str, mode: str = "w") -> None:
    with open(path, mode) as file:
        file.write(text)


def may_write(path: str) -> None:
    """Open a file for writing, and write nothing: the attack is made without the harm. A missing one is made, empty."""
    try:
        os.close(os.open(path, os.O_WRONLY))
    except FileNotFoundError:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def sh(command: str) -> None:
    """Run a shell command that must succeed."""
    if os.system(command + " >/dev/null 2>&1") != 0:
        raise Held(command)


def call(number: int, *args: object) -> int:
    """A system call by its number; -1 is a call that this machine does not have."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    done = int(libc.syscall(ctypes.c_long(number), *wide))
    if done < 0:
        raise OSError(ctypes.get_errno(), "system call")
    return done


def let_pass(number: int, *args: object) -> None:
    """A call with arguments that would do no harm: whoever may make it at all is told something else than "refused"."""
    try:
        call(number, *args)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
            raise


def any_of(*attempts: object) -> None:
    """Try one after the other; it is enough if one of them gets through."""
    for attempt in attempts:
        try:
            attempt()  # type: ignore[operator]
        except OSError:
            continue
        return
    raise Held("none of the ways")


def connect(family: int, address: object, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> None:
    """Open a connection and say a word over it."""
    with socket.socket(family, kind, protocol) as client:
        client.settimeout(1)
        client.connect(address)  # type: ignore[arg-type]
        client.send(b"x")


def fork(child: object) -> int:
    """Run a function in a process of its own; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            child()  # type: ignore[operator]
        except OSError:
            os._exit(HELD)
        os._exit(0)
    return pid


def run(attack: object, host: object) -> None:
    """The exit code says what became of the attack."""
    try:
        attack(host)  # type: ignore[operator]
    except (OSError, MemoryError) as error:
        os.write(2, f"held: {error!r}\n".encode())
        os._exit(HELD)
    sys.stdout.flush()
    os._exit(0)


class Facts:
    """What the attacker knows of the host: paths, process ids, ports."""

    def __init__(self, values: dict) -> None:  # type: ignore[type-arg]
        self.__dict__.update(values)
