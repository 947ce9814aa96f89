"""The agents of a project, for every face: which there are, and what each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from treadle.agents.registry import FOLDER, AgentRegistry, FoundAgent
from treadle.agents.spec import AgentSpec
from treadle.settings import Settings


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent as it is shown."""

    name: str
    kind: str
    """`prompt`: a file with a system message; `class`: code."""
    description: str
    source: str
    model: str = ""
    """What it asks for; a tier is named as `tier small`. Empty: what the settings say."""
    tools: tuple[str, ...] = ()
    approvals: Mapping[str, str] = field(default_factory=dict)
    preamble: str = ""


def agents_of(settings: Settings) -> AgentRegistry:
    """The agents of the project's folder `agents/`, and those of installed packages. Runs the code of their modules."""
    registry = AgentRegistry()
    registry.find_in(settings.project / FOLDER)
    registry.find_installed()
    return registry


def view_of(found: FoundAgent) -> AgentView:
    """An agent as it is shown."""
    agent = found.agent
    model = agent.model or (f"tier {agent.tier}" if agent.tier else "")
    view = AgentView(agent.name, found.kind, agent.description, found.source, model, tuple(agent.tools))
    if not isinstance(agent, AgentSpec):
        return view
    return AgentView(
        view.name,
        view.kind,
        view.description,
        view.source,
        view.model,
        view.tools,
        dict(agent.approvals),
        agent.preamble,
    )
