"""Running what clients send, in the sandbox: tests, snippets and commands. Nothing ever runs outside of one."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from treadle.errors import ConfigError, Refused, UsageError
from treadle.ports.sandbox import ExecResult, Limits, Sandbox
from treadle.ports.tool import ToolContext
from treadle.sandboxes.choose import egress_to, limits_of, open_sandbox
from treadle.settings import Settings
from treadle.tools.call import call_tool
from treadle.tools.output import head_and_tail, printable
from treadle.tools.shell import ENV, changed_between, run_command
from treadle.tools.testing import run_tests_tool

Language = Literal["python", "bash", "javascript"]

_AT_ONCE = 8
"""Calls that run; more of them wait."""
_LONGEST = 100_000
"""Characters of a snippet or a command: Linux takes 128 KiB in one argument."""
_MOST_FILES = 500
_SHOWN = 60_000
"""Characters of stdout and of stderr that are told."""
_TRACE = "TRACEPARENT"


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a snippet or a command."""

    exit_code: int
    """128 + signal if a signal ended it; 124 if its time ran out."""
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool
    out_of_memory: bool
    disk_full: bool
    """It added more to its folder than it may, and was stopped."""
    truncated: bool
    """The middle of an output was too long, and is left out."""
    changed: tuple[str, ...]
    """Files that it wrote or removed."""
    refused: tuple[str, ...] = ()
    """Hosts that it asked for and did not reach, with the reasons."""


class CodeRunner:
    """Runs code in one folder, or in a folder of its own that is thrown away. Usable as `async with`."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        """`folder`: where calls work that bring no files. None: in an empty one that goes with this runner.

        Raises:
            ConfigError: The settings want no sandbox.
            UsageError: The folder is none.
        """
        if settings.sandbox.backend == "none":
            raise ConfigError(
                "The sandbox is set to 'none', and code of clients is never run without one; nothing is served.",
                hint="Use --sandbox auto. `treadle doctor` shows which sandboxes work here.",
            )
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{str(folder)!r} is no folder; nothing is served.", hint="Make it first.")
        self._settings = settings
        self._folder = folder
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._opened = AsyncExitStack()
        self._sandbox: Sandbox | None = None

    async def __aenter__(self) -> Self:
        """Open the sandbox: what is wrong with it is to be known before anything is served.

        Raises:
            SandboxUnavailable: None can be had over this folder.
        """
        async with AsyncExitStack() as stack:
            self._sandbox = await stack.enter_async_context(self._room(self._folder))
            self._opened = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    @property
    def sandbox(self) -> Sandbox:
        """That of the folder."""
        assert self._sandbox is not None, "Use it as `async with`."
        return self._sandbox

    async def run_tests(
        self, targets: Sequence[str], runner: str, *, files: Mapping[str, str] | None, seconds: float | None
    ) -> tuple[str, dict[str, Any]]:
        """Run tests: what came of them for a model, and case by case.

        Raises:
            Refused: A target is none, or a file may not be written. Nothing was run.
        """
        args = {"targets": list(targets) or None, "runner": runner}
        async with self._at(files) as sandbox:
            context = ToolContext(sandbox, self._limits(seconds), shown=_SHOWN)
            result = await call_tool(run_tests_tool, args, context)
        if result.data is None:
            raise Refused(result.text)
        return result.text, {**result.data, "ok": not result.is_error, "seconds": round(result.seconds, 3)}

    async def run_snippet(
        self,
        code: str,
        language: Language,
        *,
        stdin: str,
        files: Mapping[str, str] | None,
        seconds: float | None,
        trace: str = "",
    ) -> Ran:
        """Run some lines of code. Raises Refused if a file may not be written; UsageError if they are too long."""
        _refuse_long(code)
        argv = {"python": ["python", "-c"], "bash": ["bash", "-c"], "javascript": ["node", "-e"]}[language]
        env = ENV | {_TRACE: trace} if trace else ENV
        limits = self._limits(seconds)
        async with self._at(files) as sandbox:
            before = await sandbox.files.stamps()
            result = await sandbox.exec([*argv, code], limits=limits, env=env, stdin=stdin.encode(errors="replace"))
            return _ran(result, changed_between(before, await sandbox.files.stamps()))

    async def run_command(
        self, command: str, *, stdin: str, files: Mapping[str, str] | None, seconds: float | None, trace: str = ""
    ) -> Ran:
        """Run a shell command. Raises as `run_snippet`."""
        _refuse_long(command)
        limits, given = self._limits(seconds), stdin.encode(errors="replace")
        async with self._at(files) as sandbox:
            before = await sandbox.files.stamps()
            env = {_TRACE: trace} if trace else None
            result = await run_command(sandbox, command, limits=limits, env=env, stdin=given)
            return _ran(result, changed_between(before, await sandbox.files.stamps()))

    def _limits(self, seconds: float | None) -> Limits:
        limits = limits_of(self._settings.sandbox)
        return replace(limits, wall_seconds=min(seconds, limits.wall_seconds)) if seconds else limits

    @asynccontextmanager
    async def _at(self, files: Mapping[str, str] | None) -> AsyncIterator[Sandbox]:
        """Wait for a turn, and lend the folder; or, for a call that brings its files, one that holds only these."""
        async with self._slots:
            if not files:
                yield self.sandbox
                return
            if len(files) > _MOST_FILES:
                raise UsageError(f"{len(files)} files are too many; nothing was run.", hint=f"Send {_MOST_FILES}.")
            async with self._room(None) as sandbox:
                for path, text in files.items():
                    await sandbox.files.write(path, text.encode(errors="replace"))
                yield sandbox

    @asynccontextmanager
    async def _room(self, folder: Path | None) -> AsyncIterator[Sandbox]:
        with tempfile.TemporaryDirectory(prefix="treadle-code-", ignore_cleanup_errors=True) as scratch:
            place = folder
            if place is None:
                place = Path(scratch, "workspace")
                place.mkdir()
            chosen, egress = self._settings.sandbox, egress_to(self._settings.sandbox.allow_hosts)
            sandbox = await open_sandbox(
                place, backend=chosen.backend, limits=limits_of(chosen), egress=egress, image=chosen.image
            )
            try:
                yield sandbox
            finally:
                await sandbox.close()


def _refuse_long(code: str) -> None:
    if len(code.encode(errors="replace")) > _LONGEST:
        hint = "Send it as one of `files`, and run that."
        raise UsageError(f"{len(code)} characters are too many for one call; nothing was run.", hint=hint)
    if "\0" in code:
        raise UsageError("There is a NUL character in it; nothing was run.", hint="Leave it out.")


def _ran(result: ExecResult, changed: tuple[str, ...]) -> Ran:
    out, err = printable(result.stdout), printable(result.stderr)
    shown, told = head_and_tail(out, _SHOWN), head_and_tail(err, _SHOWN)
    return Ran(
        exit_code=result.exit_code,
        stdout=shown,
        stderr=told,
        seconds=round(result.seconds, 3),
        timed_out=result.timed_out,
        out_of_memory=result.out_of_memory,
        disk_full=result.disk_full,
        truncated=result.truncated or shown != out or told != err,
        changed=changed,
        refused=tuple(printable(contact.refused) for contact in result.contacts if contact.refused),
    )
