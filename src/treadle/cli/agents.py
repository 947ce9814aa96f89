"""`treadle agents`: the agents of the project. Running one: `treadle run agent:NAME`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.engine.orchestrator import AnyGraph
    from treadle.engine.registry import NodeRegistry
    from treadle.settings import Settings

PREFIX = "agent:"
NAME = typer.Argument(..., metavar="NAME")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Agents of the project: list, show.", no_args_is_help=True)
    group.command("list")(list_agents)
    group.command("show")(show)
    app.add_typer(group, name="agents")


def list_agents(json: bool = JSON) -> None:
    """List the agents of the folder agents/ and of installed packages. Runs the code of those that are classes."""
    from treadle.services.agents import agents_of, view_of

    registry = agents_of(session.settings_of())
    for place, why in registry.broken.items():
        output.note(f"{place} cannot be used: {why}")
    views = [view_of(found) for found in registry]
    if json:
        for view in views:
            output.data_json(view)
        return
    if not views:
        output.note("There are no agents. Write one: docs/howto/agents.md")
        return
    rows = [
        (view.name, view.kind, view.model or "-", ", ".join(view.tools) or "-", output.clip(view.description, 60))
        for view in views
    ]
    output.table(("NAME", "KIND", "MODEL", "TOOLS", "ABOUT"), rows)


def show(name: str = NAME, json: bool = JSON) -> None:
    """Show what an agent is, and what it may do."""
    from treadle.services.agents import agents_of, view_of

    view = view_of(agents_of(session.settings_of()).get(name))
    if json:
        output.data_json(view)
        return
    output.data(f"{output.styled(view.name, 'bold')}  {view.description}")
    output.data(f"from:      {view.source}")
    output.data(f"model:     {view.model or 'what the settings say'}")
    output.data(f"tools:     {', '.join(view.tools) or 'none'}")
    if view.approvals:
        output.data(f"approvals: {', '.join(f'{tool}: {how}' for tool, how in view.approvals.items())}")
    if view.preamble:
        output.data(f"\n{view.preamble}")
    output.note(f'\nnext: treadle run {PREFIX}{view.name} --state \'{{"message": "..."}}\'')


def labels_of(model: str | None, provider: str | None) -> dict[str, str]:
    """What a run of an agent records of the command line, so that another process asks the same model."""
    _, script = session.script_in(provider)
    said = {"model": model, "provider": f"scripted:{script.absolute()}" if script else provider}
    return {key: value for key, value in said.items() if value}


@asynccontextmanager
async def code_of(
    target: str, settings: Settings, *, model: str | None = None, provider: str | None = None
) -> AsyncIterator[tuple[AnyGraph, NodeRegistry | None]]:
    """What a target of `treadle run` names: a graph of the user's, or `agent:NAME`; with the registry of its nodes.

    Raises:
        UsageError: A model is named for a graph, whose nodes choose for themselves; and as `targets.load_graph`.
        UnknownName: There is no such agent.
    """
    if not target.startswith(PREFIX):
        from treadle.services import targets

        if model or provider:
            raise UsageError(
                "--model and --provider are for agents; nothing was started.",
                hint="The nodes of a graph choose their models themselves.",
            )
        yield targets.load_graph(target, Path.cwd())
        return
    from treadle.pipelines import AgentGraphs

    provider, script = session.script_in(provider)
    agents = AgentGraphs(settings, {"model": model, "provider": provider}, script.absolute() if script else None)
    try:
        yield agents.graph(target.removeprefix(PREFIX)), None
    finally:
        await agents.close()
