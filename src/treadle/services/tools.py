"""The tools of a project: which there are, which are enabled, and trying one by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError, UnknownName, UsageError
from treadle.ports.tool import ToolContext, ToolResult
from treadle.sandboxes.choose import egress_to, limits_of, open_sandbox
from treadle.settings import Settings
from treadle.tools import BUILT_IN, ToolRegistry, call_tool
from treadle.tools.arguments import problems_of, signature
from treadle.tools.web import fetch_tool, search_tool
from treadle.workspace.baseline import commit_baseline


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool as it is shown."""

    name: str
    enabled: bool
    effects: str
    package: str
    about: str
    arguments: str
    parameters: Mapping[str, Any]


def registry_of(settings: Settings) -> ToolRegistry:
    """All tools that there are, ours and those of installed packages, with what the settings enable.

    Raises:
        ConfigError: The settings name a tool that is not there.
    """
    registry = ToolRegistry(settings.tools.enabled, settings.tools.agents)
    registry.add(*BUILT_IN)
    registry.add(fetch_tool(settings.tools.allow), search_tool(settings.tools.search_url), is_off=True)
    registry.find_installed()
    try:
        for agent in ("", *settings.tools.agents):
            registry.choose(agent=agent)
    except UnknownName as error:
        where = settings.origins.get("tools.enabled") or settings.origins.get("tools.agents", "")
        raise ConfigError(f"[tools] in {where} names a tool that is not there. {error}", hint=error.hint) from error
    return registry


def views(registry: ToolRegistry) -> list[ToolView]:
    """Every tool, ours first."""
    found = []
    for origin in registry:
        tool, definition = origin.tool, origin.tool.definition
        found.append(
            ToolView(
                tool.name,
                registry.is_enabled(tool.name),
                tool.effects,
                origin.package,
                definition.description,
                signature(definition),
                definition.parameters,
            )
        )
    return found


async def try_tool(
    registry: ToolRegistry, name: str, args: Mapping[str, Any], folder: Path, settings: Settings
) -> ToolResult:
    """Call a tool on a folder, in the sandbox, as an agent would. The folder's files are really changed.

    Raises:
        UnknownName: There is no such tool.
        UsageError: The arguments do not fit. Nothing was done.
        SandboxUnavailable: No sandbox can be had over this folder. Nothing was done.
    """
    tool = registry.get(name)
    problems = problems_of(args, tool.definition)
    if problems:
        raise UsageError(f"{name} was not called. {problems}", hint=f"`treadle tools show {name}` tells more.")
    limits = limits_of(settings.sandbox)
    chosen = settings.sandbox
    egress = egress_to(chosen.allow_hosts)
    sandbox = await open_sandbox(folder, backend=chosen.backend, limits=limits, egress=egress, image=chosen.image)
    try:
        with tempfile.TemporaryDirectory(prefix="treadle-tool-") as scratch:
            baseline = await commit_baseline(folder, Path(scratch, "snapshots"))
            return await call_tool(tool, args, ToolContext(sandbox, limits, baseline=baseline))
    finally:
        await sandbox.close()
