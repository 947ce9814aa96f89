"""The sandbox port: run a command that nobody trusts. What each backend must hold, and how it says what it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

MIB = 1024 * 1024


class Guarantee(StrEnum):
    """What a backend can promise. A missing one is shown to the user, never assumed."""

    NO_NETWORK = "no_network"
    """No other machine is reached."""
    ALLOW_LIST = "allow_list"
    """Instead of that: it was given a list of hosts, and reaches no other, by a proxy outside that resolves names."""
    FILES_CONFINED = "files_confined"
    """Nothing outside the workspace can be written, and nothing but a read-only runtime can be read."""
    GIT_PROTECTED = "git_protected"
    """`.git` at the top of the workspace can neither be read nor changed nor made: git outside runs what it names."""
    PROCESSES_HIDDEN = "processes_hidden"
    NO_CAPABILITIES = "no_capabilities"
    TREE_KILLED = "tree_killed"
    """Every process started by the call is gone when the call returns."""
    MEMORY_LIMIT = "memory_limit"
    """All processes of a call together, with their files in memory. Needs a cgroup."""
    PROCESS_MEMORY_LIMIT = "process_memory_limit"
    """Each process by itself."""
    PROCESS_LIMIT = "process_limit"
    CPU_LIMIT = "cpu_limit"
    """The share of the processor that all processes of a call have together. Needs a cgroup."""
    DISK_LIMIT = "disk_limit"
    """What a call adds to the workspace. Measured while it runs, many times a second when the disk fills: what is
    written between two looks, some hundredths of a second, can come on top."""
    SYSCALL_FILTER = "syscall_filter"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one call. Seconds and bytes."""

    wall_seconds: float = 60.0
    cpu_seconds: int = 60
    memory_bytes: int = 1024 * MIB
    processes: int = 128
    cpus: float = 0.0
    """Processors that it may keep busy, parts of one too; 0: all that there are."""
    file_bytes: int = 64 * MIB
    """Of one file."""
    disk_bytes: int = 1024 * MIB
    """What it may add to the workspace, and have open there without a name."""
    files: int = 100_000
    """Files and folders that it may add to the workspace."""
    open_files: int = 256
    output_bytes: int = 1 * MIB
    """Kept of stdout and of stderr each; the middle is dropped beyond it."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A host that a call asked its allow-list's proxy for, and what came of it."""

    host: str
    """As the call named it: written by nobody whom we trust. Empty if it named none."""
    port: int = 0
    refused: str = ""
    """Why it was not reached; empty if it was."""
    times: int = 1
    sent: int = 0
    """Bytes, all times together."""
    received: int = 0


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What became of one call."""

    exit_code: int
    """128 + signal if a signal ended it; 124 if the wall time ran out, 122 if it took too much of the disk."""
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    truncated: bool = False
    out_of_memory: bool = False
    """The kernel killed a process of the call at its memory limit. Known only where MEMORY_LIMIT is held."""
    disk_full: bool = False
    """It added more to the workspace than it may, and was ended if it still ran. What it wrote is there."""
    contacts: tuple[Contact, ...] = ()
    """Whom it asked for on the network, where it has an allow-list: those that were reached, and those refused."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """What a file holds."""

    data: bytes
    size: int
    """Bytes of the whole file: more than `data` has if that was cut."""
    mode: int
    """Permission bits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder."""

    path: str
    """Relative to the workspace."""
    kind: Literal["file", "folder", "link", "other"]
    size: int = 0
    """Bytes of a file."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds, by path."""

    entries: tuple[Entry, ...]
    is_whole: bool = True
    """There is no more than this."""


class Files(Protocol):
    """The files of a workspace, for whoever acts on the word of a model.

    Paths are relative to the workspace. None leads out of it: no `..`, no symbolic link is followed, also if one is put
    there while the operation runs; and none leads into a `.git`. What is refused has changed nothing.
    """

    async def read(self, path: str, *, limit: int = 8 * MIB) -> FileContent:
        """Read a regular file, or its first `limit` bytes.

        Raises:
            Refused: The path is not allowed, or names something else than a regular file.
            NotFound: There is no such file.
        """

    async def write(self, path: str, data: bytes) -> None:
        """Make a file hold these bytes: whole or not at all. Missing folders are made; a mode that it had is kept.

        Raises:
            Refused: The path is not allowed, or names something else than a regular file, or cannot be written.
        """

    async def remove(self, path: str) -> None:
        """Remove a file, or a symbolic link itself.

        Raises:
            Refused: The path is not allowed, or names a folder.
            NotFound: There is nothing of that name.
        """

    async def list(self, path: str = ".", *, depth: int = 1, limit: int = 1000) -> Listing:
        """List a folder, and the folders in it down to a depth; without `.git`.

        Raises:
            Refused: The path is not allowed, or names no folder.
            NotFound: There is no such folder.
        """

    async def stamps(self) -> dict[str, str]:
        """A mark of each file, by path, that changes whenever the file does; caches of interpreters left out.

        Comparing the marks before and after a command tells what it changed.
        """


class Snapshot(Protocol):
    """What a workspace held at one time."""

    async def restore(self) -> None:
        """Make the workspace hold that, and nothing else. May be called again. No call may be running.

        Contents, modes, times of files, links and empty folders come back; what is in a `.git` stays as it is. Files
        of several names become files of their own; sockets and pipes go.
        """

    async def close(self) -> None:
        """Give it up, with the room that it takes. Idempotent."""


class Sandbox(Protocol):
    """One workspace folder, and a way to run commands that can reach nothing else."""

    @property
    def name(self) -> str:
        """Backend name: `bubblewrap`, `landlock`, `docker`, `none`."""

    @property
    def workspace(self) -> Path:
        """The folder on this host that is writable inside."""

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        """What this backend holds on this machine, as probed, not as hoped."""

    @property
    def files(self) -> Files:
        """The files of the workspace, without running anything."""

    async def exec(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> ExecResult:
        """Run one command with the workspace as its folder and wait for its end.

        Stateless: nothing but the workspace's files outlives the call. `argv[0]` is looked up inside.
        `python` and `python3` name the Python that runs Treadle (with pytest if that has it). The environment is empty
        but for a PATH, HOME, LANG and what `env` gives; with an allow-list also HTTP_PROXY and its kin.
        Cancelling the call kills the whole process tree first.

        Raises:
            SandboxUnavailable: The backend failed to start. The command did not run.
        """

    async def snapshot(self) -> Snapshot:
        """Keep what the workspace holds, to go back to it. A copy on disk; close it when it is of no more use.

        Raises:
            Refused: It cannot be copied.
        """

    async def close(self) -> None:
        """End what is still running. Idempotent. The workspace stays."""


class Process(Protocol):
    """A command that goes on, and is talked to over its standard input and output. One reader and one writer at a time.

    What it says on standard error is kept head and tail. It ends by itself, by `end`, and when its sandbox is closed.
    """

    async def read(self) -> bytes:
        """The next bytes of its standard output; empty once it has ended. Waits for them."""

    async def write(self, data: bytes) -> None:
        """Give it bytes on its standard input. Waits while it does not take them.

        Raises:
            BrokenPipeError: It reads no more.
        """

    def stderr(self) -> str:
        """What it has said on standard error so far, head and tail."""

    async def wait(self) -> ExecResult:
        """How it ended. Waits for that; cancelling the wait leaves it running.

        Raises:
            SandboxUnavailable: The backend failed to start, or the process was ended from here.
        """

    async def end(self, grace_seconds: float = 1.0) -> None:
        """Close its standard input; after the grace kill it with all that it started. Idempotent."""


@runtime_checkable
class Spawning(Protocol):
    """A sandbox that can also keep a process: the same walls around it, and the same limits but that on time."""

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        reads: Sequence[Path] = (),
        with_workspace: bool = True,
    ) -> Process:
        """Start one command and return at once; `wait` tells whether it could be started.

        Args:
            reads: Files and folders of this host that it may read, at the same places.
            with_workspace: The workspace is its folder. Otherwise that is an empty one, gone at the end.

        Raises:
            SandboxUnavailable: This backend cannot protect `.git` in a workspace for so long. Nothing was started.
        """
