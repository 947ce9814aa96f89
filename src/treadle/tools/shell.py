"""The tool `bash`: one command in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated

import msgspec

from treadle.ports.sandbox import ExecResult, Limits, Sandbox
from treadle.ports.tool import ToolContext, ToolResult
from treadle.tools.define import tool

_SHELL = 'exec "$(command -v bash || command -v sh)" -c "$1"'
ENV = {"PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "TERM": "dumb", "PAGER": "cat"}


@tool(effects="idempotent")
async def bash(
    command: str, *, seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None, context: ToolContext
) -> ToolResult:
    """Run a shell command in the workspace, and show its output and exit code.

    Nothing but files outlives the command: no process, no variable, no change of folder. There is no network,
    or only the hosts that the user allows.

    Args:
        command: What bash is to run.
        seconds: Stop it after so long; left out: as long as it may take.
    """
    limits = context.limits
    if seconds:
        limits = replace(limits, wall_seconds=min(seconds, limits.wall_seconds))
    files = context.sandbox.files
    before = await files.stamps()
    result = await run_command(context.sandbox, command, limits=limits)
    return ToolResult(
        told(result, limits.wall_seconds),
        is_error=result.exit_code != 0,
        exit_code=result.exit_code,
        data={"network": [asdict(contact) for contact in result.contacts]} if result.contacts else None,
        changed=changed_between(before, await files.stamps()),
    )


async def run_command(
    sandbox: Sandbox, command: str, *, limits: Limits, env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> ExecResult:
    """Run a shell command: by bash, or by sh where there is none. Raises SandboxUnavailable."""
    return await sandbox.exec(
        ["sh", "-c", _SHELL, "sh", command], limits=limits, env={**ENV, **(env or {})}, stdin=stdin
    )


def told(result: ExecResult, wall_seconds: float) -> str:
    """What a command came to, for a model: what it printed, then how it ended."""
    parts = [result.stdout.rstrip("\n")] if result.stdout.strip() else []
    if result.stderr.strip():
        parts.append(f"[stderr]\n{result.stderr.rstrip()}")
    if result.truncated:
        parts.append("[of an output as long as this the middle was not kept: write it to a file instead]")
    why = limit_of(result)
    end = f"exit code {result.exit_code}{f': {why}' if why else ''}"
    if result.timed_out:
        end = f"it did not end within {wall_seconds:g} seconds and was stopped"
    return "\n".join([*parts, *refusals(result), f"[{end}]"])


def limit_of(result: ExecResult) -> str:
    """Which limit but that of time a call ran into, for a model; empty if into none that is known."""
    if result.disk_full:
        return "it added more to the workspace than it may, and was stopped; remove what is not needed of it"
    return "it needed more memory than it may have" if result.out_of_memory else ""


def refusals(result: ExecResult) -> list[str]:
    """A line for each host that was asked for and not reached."""
    return [f"[network: {contact.refused}]" for contact in result.contacts if contact.refused]


def changed_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """Paths of files that were written or removed, from `Files.stamps`."""
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return tuple(path.encode(errors="replace").decode() for path in paths)
