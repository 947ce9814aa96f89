"""The servers whose tools agents may be given: asking all of them, and saying which cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from treadle.errors import SandboxUnavailable, TreadleError, UnknownName
from treadle.ports.sandbox import Sandbox
from treadle.ports.tool import Offer, ToolSource
from treadle.sandboxes.choose import egress_to, limits_of, open_sandbox
from treadle.settings import McpServer, Settings
from treadle.tools import ToolRegistry
from treadle.tools.mcp import McpSource, obstacle


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source, and what came of asking it."""

    name: str
    offers: tuple[Offer, ...] = ()
    problem: str = ""
    hint: str = ""
    lacks_sandbox: bool = False
    notes: tuple[str, ...] = ()
    """Why some of its tools are not offered."""


def add_sources(registry: ToolRegistry, settings: Settings, servers: Collection[McpServer] = ()) -> None:
    """Make the tools of MCP servers known: those of the settings, and more. Asks none of them."""
    opened = partial(open_sandbox, limits=limits_of(settings.sandbox), image=settings.sandbox.image)
    for server in (*settings.mcp.servers.values(), *servers):
        if server.enabled:
            registry.add_source(McpSource(server, settings, opened))


def obstacles(settings: Settings) -> dict[str, str]:
    """The servers that cannot be used as they are written down, and why. Asks none of them."""
    found = {name: obstacle(server, settings) for name, server in settings.mcp.servers.items() if server.enabled}
    return {name: why for name, why in found.items() if why}


async def ask_sources(registry: ToolRegistry, folder: Path, settings: Settings) -> list[SourceView]:
    """Ask every source for its tools, all at once. One that cannot be had says why, and stops no other."""
    if not registry.sources:
        return []
    sources = registry.sources.values()
    try:
        async with asking(registry, folder, settings) as sandbox:
            return list(await asyncio.gather(*(_ask(source, sandbox) for source in sources)))
    except SandboxUnavailable as error:  # those on the web need none
        try:
            asked = await asyncio.gather(*(_ask(source, None) for source in sources))
        finally:
            await registry.close()
        why = f" {error.with_hint}"
        return [replace(view, problem=view.problem + why) if view.lacks_sandbox else view for view in asked]


async def offer_of(registry: ToolRegistry, name: str, sandbox: Sandbox) -> Offer:
    """What a source offers under a name.

    Raises:
        UnknownName: There is no such source, or it has no such tool.
        McpUnavailable, ConfigError, SandboxUnavailable: The source cannot be used.
    """
    source = registry.source_of(name)
    found = {offer.definition.name: offer for offer in (await source.offers(sandbox) if source else ())}
    if name not in found:
        raise UnknownName("tool", name, found)
    return found[name]


async def accept(registry: ToolRegistry, name: str, folder: Path, settings: Settings) -> SourceView:
    """Take the tools of a source as they are now: those that had changed are called without a question again.

    Raises:
        UnknownName: There is no such source.
        McpUnavailable, ConfigError, SandboxUnavailable: It cannot be asked.
    """
    if name not in registry.sources:
        raise UnknownName("MCP server", name, registry.sources)
    source = registry.sources[name]
    async with asking(registry, folder, settings) as sandbox:
        source.keep(await source.offers(sandbox), anew=True)
        return await _ask(source, sandbox)


@asynccontextmanager
async def asking(registry: ToolRegistry, folder: Path, settings: Settings) -> AsyncIterator[Sandbox]:
    """A sandbox over a folder for sources to work in; what they hold ends with it."""
    chosen, limits = settings.sandbox, limits_of(settings.sandbox)
    egress = egress_to(chosen.allow_hosts)
    sandbox = await open_sandbox(folder, backend=chosen.backend, limits=limits, egress=egress, image=chosen.image)
    try:
        yield sandbox
    finally:
        await registry.close()
        await sandbox.close()


async def _ask(source: ToolSource, sandbox: Sandbox | None) -> SourceView:
    try:
        offers = await source.offers(sandbox)
    except TreadleError as error:
        lacks = sandbox is None and isinstance(error, SandboxUnavailable)
        return SourceView(source.name, problem=str(error), hint=error.hint, lacks_sandbox=lacks)
    return SourceView(source.name, tuple(offers), notes=tuple(source.problems))
