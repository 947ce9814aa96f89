"""Opening a server by its name, with what it works on; for the command line, and for whoever mounts it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp_types import Tool

from treadle.errors import UsageError
from treadle.mcp import refuse_unknown
from treadle.settings import Settings


@asynccontextmanager
async def open_server(
    name: str, settings: Settings, places: Sequence[str] = (), *, folder: Path, answers: Mapping[str, Any] | None = None
) -> AsyncIterator[MCPServer[Any]]:
    """Open one of the servers: what it needs is there until the block is left.

    Args:
        places: Of `filesystem` the allowed folders, by default `folder`; of `code-runner` the folder where code runs,
            by default an empty one; of `workflow` the graphs that may be started.
        answers: Who answers in runs of `workflow`: what `launch.Answering` takes.
        folder: Where paths and names of modules begin.

    Raises:
        UnknownName: There is no such server.
        UsageError, SandboxUnavailable, StoreUnavailable: What it works on cannot be had. Nothing is served.
    """
    refuse_unknown(name)
    if name == "filesystem":
        from treadle.mcp.filesystem import filesystem_server
        from treadle.services.folders import Folders

        yield filesystem_server(Folders([folder / place for place in places or (".",)]))
    elif name == "code-runner":
        from treadle.mcp.code_runner import code_runner_server
        from treadle.services.code_runner import CodeRunner

        if len(places) > 1:
            raise UsageError("code-runner takes one folder; nothing is served.", hint="Serve each by itself.")
        async with CodeRunner(settings, folder / places[0] if places else None) as runner:
            yield code_runner_server(runner)
    else:
        from treadle.mcp.launch import Answering, Launcher
        from treadle.mcp.workflow import workflow_server

        async with Launcher(settings, places, folder=folder, answering=Answering(**answers or {})) as launcher:
            yield workflow_server(launcher)


async def tools_of(name: str, folder: Path) -> list[Tool]:
    """The tools of a server as clients are told of them. Opens nothing that it works on."""
    from treadle.mcp.code_runner import code_runner_server
    from treadle.mcp.filesystem import filesystem_server
    from treadle.mcp.launch import Launcher
    from treadle.mcp.workflow import workflow_server
    from treadle.services.code_runner import CodeRunner
    from treadle.services.folders import Folders

    settings = Settings(folder)
    made: dict[str, Callable[[], MCPServer[Any]]] = {
        "filesystem": lambda: filesystem_server(Folders([folder])),
        "code-runner": lambda: code_runner_server(CodeRunner(settings)),
        "workflow": lambda: workflow_server(Launcher(settings, folder=folder)),
    }
    return await made[name]().list_tools()
