"""The few Linux calls that Python does not offer. Imported by the launcher, so it imports next to nothing itself."""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS = 1, 22, 24, 28
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 36, 38, 47
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_NEW_LISTENER = 8
_SIGINT, _SIGPIPE, _SIGXFSZ = 2, 13, 25
_CAPABILITY_VERSION_3 = 0x20080522
_ALL_SECUREBITS = 0xEF  # NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, all locked; KEEP_CAPS locked off

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
READ = _EXECUTE | _READ_FILE | _READ_DIR


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def _prctl(option: int, *arguments: int) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    _checked(_libc.prctl(option, *(ctypes.c_ulong(value) for value in padded)))


def _syscall(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def die_with_parent(signal_number: int) -> None:
    """Get this signal when the thread that started us ends. Linux only; elsewhere nothing happens."""
    if hasattr(_libc, "prctl"):
        _prctl(_PR_SET_PDEATHSIG, signal_number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends. Linux only; elsewhere nothing happens."""
    if hasattr(_libc, "prctl"):
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def default_signals() -> None:
    """Undo what Python ignores for its own sake: broken pipes and files over their size limit end a program."""
    for number in (_SIGINT, _SIGPIPE, _SIGXFSZ):
        _libc.signal(number, None)


def no_new_privileges() -> None:
    """From here on no exec gives privileges: setuid bits and file capabilities count for nothing."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up every capability for good, so that uid 0 is a user like any other. Harmless for an ordinary user.

    Raises:
        OSError: Some could not be given up.
    """
    if os.geteuid() == 0:
        for capability in range(64):
            try:
                _prctl(_PR_CAPBSET_DROP, capability)
            except OSError:  # above the last one this kernel knows, or not ours to drop; capset below is what counts
                break
        try:
            _prctl(_PR_SET_SECUREBITS, _ALL_SECUREBITS)
        except OSError:  # needs CAP_SETPCAP; without it exec as root is held by the bounding set and no_new_privileges
            pass
    _prctl(_PR_CAP_AMBIENT, 4)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    _checked(_libc.capset(header, ctypes.create_string_buffer(24)))


def seccomp(program: bytes, *, listen: bool) -> int:
    """Install a filter for this process and what it starts. With `listen`, a descriptor that gets its questions."""
    code = ctypes.create_string_buffer(program, len(program))
    whole = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    argument = ctypes.create_string_buffer(whole, len(whole))
    if listen:
        return _syscall(_SECCOMP[platform_machine()], ctypes.c_long(1), ctypes.c_long(_NEW_LISTENER), argument)
    _prctl(_PR_SET_SECCOMP, 2, ctypes.addressof(argument))
    return -1


def platform_machine() -> str:
    """As `platform.machine()`, without that module's import time."""
    return os.uname().machine


def landlock_abi() -> int:
    """Version of Landlock in the running kernel; 0 if it has none or it is switched off."""
    try:
        return _syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        return 0


def landlock_rules(abi: int, read: Iterable[str], write: Iterable[str], devices: Iterable[str]) -> int:
    """A ruleset that allows reading and running below `read`, everything but device nodes below `write`. Missing paths
    are left out. Where the kernel can, TCP is denied, and sockets and signals out of the sandbox are.

    Returns:
        A descriptor for `landlock_restrict`.
    """
    rights = (
        (1 << 13) - 1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL_DEV if abi >= 5 else 0)
    )
    fields = [rights, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0]
    attributes = struct.pack("=QQQ", *fields)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _syscall(
        _LANDLOCK_CREATE, ctypes.create_string_buffer(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    for path in read:
        _allow(ruleset, path, READ & rights)
    for path in write:
        _allow(ruleset, path, rights & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV))
    for path in devices:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & rights)
    return ruleset


def landlock_restrict(ruleset: int) -> None:
    """Put this process, and what it starts, under the ruleset. Needs `no_new_privileges`."""
    _syscall(_LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{target}"):
            rights &= _ON_FILES
        beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights, target), 12)
        _syscall(_LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), beneath, ctypes.c_uint32(0))
    finally:
        os.close(target)
