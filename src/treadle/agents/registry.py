"""The agents that there are, by name: those of a program, of a project's folder, and of installed packages."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from treadle.agents.custom import Agent
from treadle.agents.spec import AgentSpec, parse_agent
from treadle.errors import TreadleError, UnknownName, UsageError

GROUP = "treadle.agents"
"""Entry points of this group are agents: a class derived from `Agent`, an instance, an `AgentSpec`, or a list."""
FOLDER = "agents"
"""Of a project: `*.md` with front matter, and `*.py` that import Treadle."""


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """An agent, and where it comes from."""

    agent: Agent | AgentSpec
    source: str
    """A file, a package, or `program`."""

    @property
    def kind(self) -> str:
        """`prompt`: a file with a system message; `class`: code."""
        return "prompt" if isinstance(self.agent, AgentSpec) else "class"


@dataclass(slots=True)
class AgentRegistry:
    """Finds agents by name."""

    found: dict[str, FoundAgent] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    """What looks like an agent and cannot be used: where it is, and why."""

    def add(self, *agents: Agent | AgentSpec | type[Agent], source: str = "program") -> None:
        """Make agents known.

        Raises:
            UsageError: There is one of that name already, or it is no agent.
        """
        for given in agents:
            agent: Any = given() if inspect.isclass(given) and issubclass(given, Agent) else given
            if not isinstance(agent, Agent | AgentSpec):
                raise UsageError(f"{given!r} is no agent.", hint="Derive its class from treadle.agents.Agent.")
            if agent.name in self.found:
                other = self.found[agent.name].source
                raise UsageError(
                    f"There are two agents called {agent.name!r}: of {other}, and of {source}.",
                    hint="Give one of them another name.",
                )
            self.found[agent.name] = FoundAgent(agent, source)

    def find_installed(self) -> None:
        """Make the agents of installed packages known. One that cannot be used stops no other: see `broken`."""
        for point in entry_points(group=GROUP):
            package = point.dist.name if point.dist is not None else point.value
            try:
                loaded = point.load()
                self.add(*(loaded if isinstance(loaded, list | tuple) else [loaded]), source=package)
            except Exception as error:  # noqa: BLE001  # importing a package of others may raise anything
                self.broken[f"{package}:{point.name}"] = _told(error)

    def find_in(self, folder: Path) -> None:
        """Make the agents of a folder known: runs the code of its `*.py` that import Treadle. See `broken`."""
        for file in sorted(folder.glob("*.md")) + sorted(folder.glob("*.py")):
            try:
                found = [spec] if file.suffix == ".md" and (spec := parse_agent(file)) else []
                self.add(*(found or (_classes_in(file) if file.suffix == ".py" else [])), source=str(file))
            except Exception as error:  # noqa: BLE001  # code of the project may raise anything
                self.broken[str(file)] = _told(error)

    def get(self, name: str) -> FoundAgent:
        """An agent by its name.

        Raises:
            UsageError: There is a file of that name, and it cannot be used.
            UnknownName: There is none.
        """
        if name in self.found:
            return self.found[name]
        for place, why in self.broken.items():
            if Path(place).stem == name or place.endswith(f":{name}"):
                raise UsageError(f"The agent {name!r} of {place} cannot be used. {why}")
        raise UnknownName("agent", name, self.found)

    def __iter__(self) -> Iterator[FoundAgent]:
        return iter(self.found[name] for name in sorted(self.found))


def _classes_in(file: Path) -> list[type[Agent]]:
    if "treadle" not in file.read_text("utf-8", errors="replace"):
        return []  # a project may have a folder of this name that is no business of ours
    module = _load(file)
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Agent) and value.__module__ == module.__name__
    ]


def _load(file: Path) -> ModuleType:
    name = f"treadle_project_agents_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _told(error: Exception) -> str:
    return error.with_hint if isinstance(error, TreadleError) else f"{type(error).__name__}: {error}"
