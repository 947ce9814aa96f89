"""Servers of the Model Context Protocol: faces of what is there, over stdio and HTTP. They need the extra `mcp`."""

from __future__ import annotations

from treadle.errors import UnknownName

SERVERS = {
    "filesystem": "Reads, writes, edits, finds and moves files, in the folders that it is given.",
    "code-runner": "Runs tests, snippets and commands in the sandbox, and tells what came of them.",
    "workflow": "Starts builds, agents and graphs as durable runs, and follows, answers and cancels them.",
}
"""What each is for, by name."""


def refuse_unknown(name: str) -> None:
    """Raise UnknownName unless there is such a server."""
    if name not in SERVERS:
        raise UnknownName("MCP server", name, SERVERS)
