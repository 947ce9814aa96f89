"""The tools of a project: which there are, which are enabled, and trying one by hand."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.domain.messages import ToolDefinition
from treadle.domain.trace import traceparent
from treadle.errors import ConfigError, UnknownName, UsageError
from treadle.ports.tool import Offer, ToolContext, ToolResult
from treadle.sandboxes.choose import limits_of
from treadle.services.tool_sources import add_sources, asking, offer_of
from treadle.settings import McpServer, Settings
from treadle.tools import BUILT_IN, ToolRegistry, call_tool
from treadle.tools.arguments import problems_of, signature
from treadle.tools.define import FunctionTool
from treadle.tools.web import fetch_tool, search_tool
from treadle.workspace.baseline import commit_baseline


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool as it is shown."""

    name: str
    enabled: bool
    effects: str
    package: str
    """What brings it: an installed package, or `mcp:SERVER`; empty for ours."""
    about: str
    arguments: str
    parameters: Mapping[str, Any]
    approve: str = "allow"
    """Who agrees to calls."""
    note: str = ""


def registry_of(settings: Settings, servers: Collection[McpServer] = ()) -> ToolRegistry:
    """All tools that there are, ours and those of installed packages, with what the settings enable.

    MCP servers, those of the settings and these, are its sources; none is asked yet.

    Raises:
        ConfigError: The settings name a tool that is not there.
    """
    registry = ToolRegistry(settings.tools.enabled, settings.tools.agents)
    registry.add(*BUILT_IN)
    registry.add(fetch_tool(settings.tools.allow), search_tool(settings.tools.search_url), is_off=True)
    registry.find_installed()
    add_sources(registry, settings, servers)
    try:
        for agent in ("", *settings.tools.agents):
            registry.choose(agent=agent)
    except UnknownName as error:
        where = settings.origins.get("tools.enabled") or settings.origins.get("tools.agents", "")
        raise ConfigError(f"[tools] in {where} names a tool that is not there. {error}", hint=error.hint) from error
    return registry


def views(registry: ToolRegistry, agent: str = "") -> list[ToolView]:
    """Every tool, ours first, with whether this agent may have it; without an agent, whether any may."""
    found = []
    for origin in registry:
        tool, definition = origin.tool, origin.tool.definition
        found.append(
            ToolView(
                tool.name,
                registry.is_enabled(tool.name, agent),
                tool.effects,
                origin.package,
                definition.description,
                signature(definition),
                definition.parameters,
            )
        )
    return found


def offer_view(registry: ToolRegistry, offer: Offer, agent: str = "") -> ToolView:
    """A tool of a source as it is shown."""
    name, definition = offer.definition.name, offer.definition
    return ToolView(
        name,
        registry.is_enabled(name, agent),
        offer.effects,
        f"mcp:{offer.source}",
        definition.description,
        signature(definition),
        definition.parameters,
        offer.approve,
        offer.note,
    )


async def show_tool(registry: ToolRegistry, name: str, folder: Path, settings: Settings) -> ToolView:
    """One tool as it is shown. Its source, if it has one, is asked.

    Raises:
        UnknownName: There is no such tool.
        McpUnavailable, ConfigError, SandboxUnavailable: Its source cannot be used.
    """
    if registry.source_of(name) is None:
        registry.get(name)
        return next(view for view in views(registry) if view.name == name)
    async with asking(registry, folder, settings) as sandbox:
        return offer_view(registry, await offer_of(registry, name, sandbox))


async def try_tool(
    registry: ToolRegistry,
    name: str,
    args: Mapping[str, Any],
    folder: Path,
    settings: Settings,
    on_progress: Callable[[str], None] | None = None,
) -> ToolResult:
    """Call a tool on a folder, in the sandbox, as an agent would. The folder's files are really changed.

    Raises:
        UnknownName: There is no such tool.
        McpUnavailable, ConfigError: Its source cannot be used. Nothing was done.
        UsageError: The arguments do not fit. Nothing was done.
        SandboxUnavailable: No sandbox can be had over this folder. Nothing was done.
    """
    source = registry.source_of(name)
    if source is None:
        known = registry.get(name)
        _check(args, known.definition)
        if isinstance(known, FunctionTool):
            known.refuse_unknown(args)
    async with asking(registry, folder, settings) as sandbox:
        tool = registry.get(name) if source is None else source.tool(await offer_of(registry, name, sandbox))
        _check(args, tool.definition)
        with tempfile.TemporaryDirectory(prefix="treadle-tool-") as scratch:
            baseline = await commit_baseline(folder, Path(scratch, "snapshots"))
            context = ToolContext(sandbox, limits_of(settings.sandbox), baseline=baseline)
            context.trace, context.on_progress = traceparent(secrets.token_hex(16), "by hand"), on_progress
            return await call_tool(tool, args, context)


def _check(args: Mapping[str, Any], definition: ToolDefinition) -> None:
    problems = problems_of(args, definition)
    if problems:
        hint = f"`treadle tools show {definition.name}` tells more."
        raise UsageError(f"{definition.name} was not called. {problems}", hint=hint)
