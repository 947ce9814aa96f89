"""What generated code may read: the system's programs and libraries, and the Python that runs Treadle. Nothing else."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import UsageError
from treadle.removal import remove_tree

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
ETC = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/mime.types",
)
CERTIFICATES = (
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates/extracted",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
)
"""Whom TLS trusts: public, and beside private keys, of which nothing is here."""
_PREFIX_PARTS = ("bin", "lib", "lib64", "include", "pyvenv.cfg")
"""Of a prefix only these: a Python built with `--prefix ~/.local` must not bring along the keyring in `share`."""
_HARMLESS = frozenset(
    {
        *_PREFIX_PARTS,
        ".gitignore",
        ".lock",
        "CACHEDIR.TAG",
        "made-by-treadle",
        "treadle-setup.json",
        "treadle-setup.log",
    }
)
"""A prefix that holds nothing else is shown whole: one place, which takes a fifth of the time of five."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Read-only paths for a sandbox, and the PATH that finds Treadle's Python first."""

    system: tuple[str, ...]
    python: tuple[str, ...]
    search_path: tuple[str, ...]
    interpreter: str | None
    """What `python` and `python3` must be linked to, or None if `search_path` finds them already."""


@functools.cache
def find_runtime() -> Runtime:
    """Look at this machine and this interpreter, once in each process: that takes a hundred stat calls."""
    prefixes = _unique([sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix])
    hops = _interpreter_hops(Path(sys.executable))
    parts = [part for prefix in prefixes for part in parts_of(prefix)]
    literal = [part for part in _unique([*parts, *hops]) if os.path.exists(part)]
    python = [p for p in _unique([q for part in literal for q in (part, os.path.realpath(part))]) if not _in_system(p)]
    in_venv = sys.prefix != sys.base_prefix
    return Runtime(
        system=tuple(path for path in SYSTEM if os.path.lexists(path)),
        python=tuple(_without_nested(python)),
        search_path=tuple(_unique([f"{sys.prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin"])),
        interpreter=None if in_venv else os.path.realpath(sys.executable),
    )


def parts_of(prefix: str) -> list[str]:
    """What is shown of the folder that a Python is installed in."""
    try:
        holds = set(os.listdir(prefix))
    except OSError:
        return []
    if "share" in holds and os.listdir(f"{prefix}/share") == ["man"]:
        holds.remove("share")
    return [prefix] if holds <= _HARMLESS else [f"{prefix}/{part}" for part in _PREFIX_PARTS]


def environment(search_path: Sequence[str], *, home: str, tmp: str, extra: Mapping[str, str] | None) -> dict[str, str]:
    """The whole environment of a sandboxed command; `extra` wins.

    Raises:
        UsageError: A name or value in `extra` cannot be an environment variable.
    """
    values = {
        "PATH": ":".join(search_path),
        "HOME": home,
        "TMPDIR": tmp,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        **(extra or {}),
    }
    for name, value in values.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise UsageError(f"The environment variable {name!r} cannot be passed on; the command did not run.")
    return values


def check_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """The same, as a tuple.

    Raises:
        UsageError: There is no command, or an argument holds a NUL.
    """
    if not argv or not argv[0] or any("\0" in word for word in argv):
        raise UsageError("The command is empty or holds a NUL character; it did not run.")
    return tuple(argv)


def _interpreter_hops(executable: Path) -> list[str]:
    """The interpreter and every link on the way to its real file: each hop must be visible for exec to succeed."""
    hops = [str(executable)]
    for _ in range(16):
        if not executable.is_symlink():
            break
        executable = executable.parent / os.readlink(executable)
        hops.append(os.path.normpath(executable))
    return hops


def _in_system(path: str) -> bool:
    return any(path == root or path.startswith(root + "/") for root in SYSTEM)


def _without_nested(paths: Sequence[str]) -> list[str]:
    ordered = sorted(paths)
    return [path for path in ordered if not any(path.startswith(other + "/") for other in ordered)]


def _unique(paths: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(paths))


@contextlib.contextmanager
def private_folder(runtime: Runtime) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A temporary folder for one call on a shared file system, and the PATH that goes with it. Removed at the end."""
    folder = tempfile.mkdtemp(prefix="treadle-call-")
    try:
        os.mkdir(f"{folder}/home", 0o700)
        if runtime.interpreter is None:
            yield folder, runtime.search_path
        else:
            os.mkdir(f"{folder}/bin", 0o700)
            for alias in ("python", "python3"):
                os.symlink(runtime.interpreter, f"{folder}/bin/{alias}")
            yield folder, (f"{folder}/bin", *runtime.search_path)
    finally:
        remove_tree(folder)
