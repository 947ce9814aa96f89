"""Run the system's git in a way that no configuration of the user or of a repository can bend.

Only the calling convention lives here; what the calls mean is said by the modules that make them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import ConfigError, TreadleError

NO_OBJECT = "0" * 40
"""What git calls the value of a ref that does not exist."""

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree with no files; git knows it by heart."""

_HINT = "Look at the message of git; `git --version` must be 2.30 or newer."
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.quotePath": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsync": "committed,reference",  # a tree that the journal names must survive a power cut
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.allow": "never",  # nothing here ever speaks to a remote
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a commit is by."""

    name: str = "Treadle"
    email: str = "treadle@localhost"


@dataclass(frozen=True, slots=True)
class Git:
    """Calls of git with one fixed set of `--git-dir`, work tree and index. Immutable; calls may run side by side."""

    git_dir: Path | None = None
    work_tree: Path | None = None
    index: Path | None = None
    cwd: Path | None = None
    objects: Path | None = None
    """Where objects are read and written; otherwise in the git dir."""

    async def run(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run one git command and return what it printed.

        Cancelling the call kills the command. Never asks at a terminal, runs no hooks, reads no user configuration.

        Raises:
            ConfigError: There is no git on this machine.
            TreadleError: The command ended with another code than 0; the message holds git's own last words.
        """
        code, out, err = await self.attempt(*args, stdin=stdin, env=env)
        if code != 0:
            said = err.decode(errors="replace").strip().splitlines() or [f"exit code {code}"]
            raise TreadleError(f"git {args[0]} failed: {said[-1]}", hint=_HINT)
        return out

    async def text(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Like `run`, decoded and without the newline at the end."""
        return (await self.run(*args, stdin=stdin, env=env)).decode(errors="surrogateescape").rstrip("\n")

    async def attempt(
        self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, bytes]:
        """Run one git command and return its exit code, stdout and stderr, whatever they are."""
        process = await asyncio.create_subprocess_exec(
            git_program(),
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.cwd,
            env=self._environment() | dict(env or {}),
        )
        try:
            out, err = await process.communicate(stdin)
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        return process.returncode or 0, out, err

    def _environment(self) -> dict[str, str]:
        place = {
            "GIT_DIR": self.git_dir,
            "GIT_WORK_TREE": self.work_tree,
            "GIT_INDEX_FILE": self.index,
            "GIT_OBJECT_DIRECTORY": self.objects,
        }
        return _hardened() | {name: str(path) for name, path in place.items() if path is not None}


def git_program() -> str:
    """Find the git program. Raises ConfigError if there is none."""
    program = shutil.which("git")
    if program is None:
        raise ConfigError("There is no git on this machine.", hint="Install it, for example: apt install git.")
    return program


async def user_identity() -> Identity:
    """Say who the user of this machine is in git's eyes, or Treadle if git does not know."""
    readable = {"GIT_CONFIG_GLOBAL": str(Path.home() / ".gitconfig")}
    found = []
    for key in ("user.name", "user.email"):
        _, out, _ = await Git(cwd=Path("/")).attempt("config", "--get", key, env=readable)
        found.append(out.decode(errors="replace").strip())
    return Identity(*found) if all(found) else Identity()


def split_fields(out: bytes) -> Sequence[str]:
    """Split the output of a `-z` command. Bytes that are no UTF-8 are kept as surrogates."""
    return [field.decode(errors="surrogateescape") for field in out.split(b"\0") if field]


def _hardened() -> dict[str, str]:
    pairs = list(_SETTINGS.items())
    numbered = {f"GIT_CONFIG_KEY_{n}": key for n, (key, _) in enumerate(pairs)}
    numbered |= {f"GIT_CONFIG_VALUE_{n}": value for n, (_, value) in enumerate(pairs)}
    return numbered | {
        "PATH": os.pathsep.join(os.get_exec_path()),
        "HOME": str(Path.home()),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": str(len(pairs)),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_PAGER": "cat",
    }
