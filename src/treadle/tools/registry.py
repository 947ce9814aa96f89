"""The tools that there are, by name: ours, those of a program, and those of installed packages."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from treadle.errors import TreadleError, UnknownName, UsageError
from treadle.ports.sandbox import Sandbox
from treadle.ports.tool import Offer, Tool, ToolSource

GROUP = "treadle.tools"
"""Entry points of this group are tools: an object with the port's methods, a class that makes one, or a list."""
ALL = "*"
SEPARATOR = "__"
"""Between a source and its tool: `github__search`. `github__*` stands for all of them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A tool, where it comes from, and whether it has to be asked for by name."""

    tool: Tool
    package: str = ""
    """The installed package that brings it; empty for ours and the program's own."""
    is_off: bool = False
    """`*` does not stand for it."""


@dataclass(slots=True)
class ToolRegistry:
    """Finds tools by name. Which of them an agent gets is said by `enabled`, and by the agent."""

    enabled: Sequence[str] = (ALL,)
    """Names; `*` stands for every tool that need not be asked for by name."""
    agents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The same for single agents: what they have is in both."""
    found: dict[str, Origin] = field(default_factory=dict)
    sources: dict[str, ToolSource] = field(default_factory=dict)
    """Whose tools are known once they are asked: those of MCP servers."""
    broken: dict[str, str] = field(default_factory=dict)
    """Tools of installed packages that cannot be used, with the reason."""

    def add(self, *tools: Tool, package: str = "", is_off: bool = False) -> None:
        """Make tools known.

        Raises:
            UsageError: There is one of that name already, or it is no tool.
        """
        for tool in tools:
            _refuse_no_tool(tool)
            if tool.name in self.found:
                raise UsageError(f"There are two tools called {tool.name!r}.", hint="Give one of them another name.")
            self.found[tool.name] = Origin(tool, package, is_off)

    def add_source(self, source: ToolSource) -> None:
        """Make a source of tools known. One of that name that was there is replaced."""
        self.sources[source.name] = source

    def source_of(self, name: str) -> ToolSource | None:
        """The source that a tool's name, or `SOURCE__*`, begins with."""
        return self.sources.get(name.partition(SEPARATOR)[0]) if SEPARATOR in name else None

    def find_installed(self) -> None:
        """Make the tools of installed packages known. One that cannot be used stops no other: see `broken`."""
        for point in entry_points(group=GROUP):
            package = point.dist.name if point.dist is not None else point.value
            try:
                for tool in _tools_of(point.load()):
                    self.add(tool, package=package, is_off=True)
            except Exception as error:  # noqa: BLE001  # importing a package of others may raise anything
                self.broken[point.name] = f"{package}: {type(error).__name__}: {error}"

    def get(self, name: str) -> Tool:
        """A tool by its name, enabled or not. Raises UnknownName."""
        if name not in self.found:
            raise UnknownName("tool", name, [*self.found, *(f"{source}{SEPARATOR}*" for source in self.sources)])
        return self.found[name].tool

    def is_enabled(self, name: str, agent: str = "") -> bool:
        """Tell whether an agent may have a tool; without an agent, whether any may."""
        return self._names(name, self.enabled) and self._names(name, self.agents.get(agent, (ALL, name)))

    def choose(self, names: Iterable[str] = (ALL,), agent: str = "") -> list[Tool]:
        """The tools that an agent gets of those that it asks for, in order; those that are not enabled are left out.

        Those of sources are not among them: see `offers`.

        Raises:
            UnknownName: There is no such tool.
        """
        wanted = list(names)
        for name in [*wanted, *self.enabled, *self.agents.get(agent, ())]:
            if name != ALL and self.source_of(name) is None:
                self.get(name)
        chosen = [*(name for name in wanted if name in self.found), *(self.found if ALL in wanted else ())]
        return [self.found[name].tool for name in dict.fromkeys(chosen) if self.is_enabled(name, agent)]

    async def offers(self, names: Iterable[str], agent: str, sandbox: Sandbox) -> tuple[list[Offer], list[str]]:
        """The tools of sources that an agent gets of those that it asks for, and notes on what it does not get.

        A source that is named must answer; of those that `*` stands for, one that does not is only noted.

        Raises:
            McpUnavailable, ConfigError, SandboxUnavailable: A source that is named cannot be used.
            UnknownName: It has no such tool.
        """
        wanted = [name for name in names if name == ALL or self.source_of(name)]
        named = {name.partition(SEPARATOR)[0] for name in wanted} - {ALL}
        asked = [source for source in self.sources.values() if source.name in named or ALL in wanted]
        answers = await asyncio.gather(*(source.offers(sandbox) for source in asked), return_exceptions=True)
        found: dict[str, Offer] = {}
        notes = []
        for source, answer in zip(asked, answers, strict=True):
            if not isinstance(answer, BaseException):
                found |= {offer.definition.name: offer for offer in answer}
            elif source.name in named or not isinstance(answer, TreadleError):
                raise answer
            else:
                notes.append(str(answer))
        for name in wanted:
            if not name.endswith(ALL) and name not in found:
                raise UnknownName("tool", name, found)
        chosen = [offer for name, offer in found.items() if _is_among(name, wanted) and self.is_enabled(name, agent)]
        return chosen, notes

    async def close(self) -> None:
        """Let go of what its sources hold. Idempotent."""
        for source in self.sources.values():
            await source.close()

    def __iter__(self) -> Iterator[Origin]:
        return iter(self.found.values())

    def _names(self, name: str, names: Sequence[str]) -> bool:
        if self.source_of(name) is not None:
            return _is_among(name, names)
        return name in names or (ALL in names and not self.found[name].is_off)


def _is_among(name: str, names: Sequence[str]) -> bool:
    """Of tools of sources: by name, by source, or by all."""
    return bool({name, f"{name.partition(SEPARATOR)[0]}{SEPARATOR}{ALL}", ALL} & set(names))


def _tools_of(loaded: Any) -> Iterator[Tool]:
    for one in loaded if isinstance(loaded, list | tuple) else [loaded]:
        made: Any = one() if inspect.isclass(one) else one
        yield made


def _refuse_no_tool(tool: Any) -> None:
    lacks = [name for name in ("name", "definition", "effects", "resources", "call") if not hasattr(tool, name)]
    if lacks:
        raise UsageError(f"{tool!r} is no tool: it has no {', '.join(lacks)}.", hint="Make it with @tool.")
