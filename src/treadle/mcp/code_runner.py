"""The MCP server `code-runner`: tests, snippets and commands in the sandbox, with structured results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from treadle.mcp.server import new_server, offer, reply, traceparent
from treadle.services.code_runner import CodeRunner, Language, Ran

_INSTRUCTIONS = (
    "Runs code in a sandbox; nothing outlives a call but files. A call that brings `files` has a folder to itself that "
    "holds them and nothing else, and is thrown away; other calls share one folder."
)

Files = Annotated[
    Mapping[str, str] | None, Field(description="Texts of files by path. With them, the call has a folder to itself.")
]
Seconds = Annotated[float | None, Field(gt=0, description="Stop after so long; left out: as long as it may take.")]
Stdin = Annotated[str, Field(description="What it reads from its standard input.")]
Targets = Annotated[Sequence[str], Field(description="Files, folders or names of tests; left out: all tests.")]
Runner = Annotated[
    Literal["auto", "pytest", "unittest", "node", "jest", "vitest", "cargo", "go"],
    Field(description="What runs the tests; left out: what suits the files."),
]


class TestOutcome(BaseModel):
    """What became of one test."""

    __test__ = False  # no test of pytest's, though it is called so

    name: str
    state: Literal["passed", "failed", "error", "skipped"]
    seconds: float
    told: str = Field(description="Why it failed, in a few lines.")


class TestReport(BaseModel):
    """What a run of tests came to."""

    __test__ = False

    ok: bool = Field(description="Tests ran, and none went wrong.")
    runner: str
    passed: int
    failed: int
    skipped: int
    broken: str = Field(description="Why no test could run at all.")
    seconds: float
    cases: list[TestOutcome]


class Outcome(BaseModel):
    """What became of a snippet or a command."""

    exit_code: int = Field(
        description="128 + signal if a signal ended it; 124 if its time ran out; 122 if it wrote too much."
    )
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool
    out_of_memory: bool
    disk_full: bool = Field(description="It added more to its folder than it may, and was stopped.")
    truncated: bool = Field(description="The middle of an output was too long, and is left out.")
    changed: list[str] = Field(description="Files that it wrote or removed.")
    refused: list[str] = Field(description="Hosts that it asked for and did not reach, with the reasons.")


OutcomeReply = Annotated[CallToolResult, Outcome]


class Code:
    """The tools, each a method."""

    def __init__(self, runner: CodeRunner) -> None:
        self._runner = runner

    async def run_tests(
        self, targets: Targets = (), runner: Runner = "auto", files: Files = None, seconds: Seconds = None
    ) -> Annotated[CallToolResult, TestReport]:
        """Run tests, and tell for each what became of it, and for those that failed why."""
        text, found = await self._runner.run_tests(targets, runner, files=files, seconds=seconds)
        cases = [{key: case[key] for key in TestOutcome.model_fields} for case in found["cases"]]
        counts = {key: found[key] for key in ("runner", "passed", "failed", "skipped", "broken", "seconds", "ok")}
        return reply(text, {**counts, "cases": cases})

    async def run_snippet(
        self,
        code: Annotated[str, Field(description="The code itself.")],
        language: Language = "python",
        stdin: Stdin = "",
        files: Files = None,
        seconds: Seconds = None,
    ) -> OutcomeReply:
        """Run some lines of code, and tell what they printed and how they ended."""
        return _told(
            await self._runner.run_snippet(
                code, language, stdin=stdin, files=files, seconds=seconds, trace=traceparent()
            )
        )

    async def run_command(
        self,
        command: Annotated[str, Field(description="What bash is to run.")],
        stdin: Stdin = "",
        files: Files = None,
        seconds: Seconds = None,
    ) -> OutcomeReply:
        """Run a shell command, and tell what it printed and how it ended."""
        ran = await self._runner.run_command(command, stdin=stdin, files=files, seconds=seconds, trace=traceparent())
        return _told(ran)


def code_runner_server(runner: CodeRunner) -> MCPServer[Any]:
    """Make the server over an open runner."""
    server = new_server("code-runner", _INSTRUCTIONS)
    tools = Code(runner)
    # What runs there may change the files of the folder, and nothing else.
    offer(server, tools.run_tests, title="Run tests", destroys=True)
    offer(server, tools.run_snippet, title="Run a snippet", destroys=True)
    offer(server, tools.run_command, title="Run a command", destroys=True)
    return server


def _told(ran: Ran) -> CallToolResult:
    parts = [ran.stdout.rstrip("\n")] if ran.stdout.strip() else []
    if ran.stderr.strip():
        parts.append(f"[stderr]\n{ran.stderr.rstrip()}")
    parts.append(f"[exit code {ran.exit_code}{_why(ran)}]")
    parts += [f"[network: {why}]" for why in ran.refused]
    return reply("\n".join(parts), {**asdict(ran), "changed": list(ran.changed), "refused": list(ran.refused)})


def _why(ran: Ran) -> str:
    if ran.timed_out:
        return ", its time ran out"
    if ran.disk_full:
        return ", it added more to its folder than it may; remove what is not needed"
    return ", it needed more memory than it may have" * ran.out_of_memory
