"""`treadle tools`: what agents can do, and doing it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON

if TYPE_CHECKING:
    from treadle.ports.tool import ToolResult
    from treadle.services.tool_sources import SourceView
    from treadle.services.tools import ToolView

NAME = typer.Argument(..., metavar="NAME")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="What agents can do: list, show, call, accept.", no_args_is_help=True)
    group.command("list")(list_tools)
    group.command("show")(show)
    group.command("call")(call)
    group.command("accept")(accept)
    app.add_typer(group, name="tools")


def list_tools(
    agent: str = typer.Option("", "--agent", metavar="NAME", help="Say which [tools] lets this agent have."),
    json: bool = JSON,
) -> None:
    """List the tools, and say which are enabled. Starts or asks the MCP servers that are configured."""

    async def work() -> int:
        from treadle.services.tool_sources import ask_sources
        from treadle.services.tools import offer_view, registry_of, views

        settings = session.settings_of()
        registry = registry_of(settings)
        for name, why in registry.broken.items():
            output.note(f"The tool {name!r} cannot be used: {why}")
        asked = await ask_sources(registry, settings.project, settings)
        offers = [offer for source in asked for offer in source.offers]
        _list([*views(registry, agent), *(offer_view(registry, offer, agent) for offer in offers)], json)
        for source in asked:
            _show_source(source)
        if agent and agent not in settings.tools.agents:
            output.note(f"[tools.agents] says nothing of {agent!r}: it may have what any agent may.")
        return 0

    session.run(work)


def _list(found: list[ToolView], json: bool) -> None:
    if json:
        for view in found:
            output.data_json(view)
        return
    rows = [
        (
            view.name,
            "yes" if view.enabled else "no",
            view.effects,
            view.package or "-",
            output.clip(view.about.partition(". ")[0].rstrip("."), 70),
        )
        for view in found
    ]
    output.table(("NAME", "ENABLED", "EFFECTS", "FROM", "ABOUT"), rows)


def _show_source(source: SourceView) -> None:
    if source.problem:
        output.note(f"{source.problem}{f' {source.hint}' if source.hint else ''}")
    for note in source.notes:
        output.note(note)
    for offer in source.offers:
        if offer.note:
            output.note(f"{offer.definition.name}: {offer.note}")


def show(name: str = NAME, json: bool = JSON) -> None:
    """Show a tool as models are told of it."""

    async def work() -> int:
        from treadle.services.tools import registry_of, show_tool

        settings = session.settings_of()
        view = await show_tool(registry_of(settings), name, settings.project, settings)
        if json:
            output.data_json(view)
        else:
            _show(view)
        return 0

    session.run(work)


def accept(name: str = typer.Argument(..., metavar="SERVER")) -> None:
    """Take the tools of an MCP server as they are now.

    What a server said of its tools when agents first used them is kept. When that changes, calls of the tool wait for
    somebody who agrees, until the change is accepted here.
    """

    async def work() -> int:
        from treadle.services.tool_sources import accept as accepted
        from treadle.services.tools import registry_of

        settings = session.settings_of()
        view = await accepted(registry_of(settings), name, settings.project, settings)
        output.note(f"{len(view.offers)} tools of {name} are taken as they are now.")
        return 0

    session.run(work)


def call(
    name: str = NAME,
    arguments: str = typer.Argument("{}", metavar="JSON", help="The arguments, a JSON object, or @file."),
    folder: Path = typer.Option(
        Path(), "--folder", metavar="DIR", help="The workspace. By default the current folder."
    ),
    sandbox: str | None = typer.Option(
        None, "--sandbox", metavar="NAME", help="auto, bubblewrap, landlock, docker or none."
    ),
    allow_host: list[str] | None = typer.Option(
        None, "--allow-host", metavar="HOST", help="Let sandboxed commands reach this host; may be repeated."
    ),
    json: bool = JSON,
) -> None:
    """Call a tool on a folder, in the sandbox, and print what a model would read.

    It is the real thing: write_file really writes in the folder; name another one with --folder to be careful. Nothing
    outside the folder is changed, nor its .git. Exits with 1 if the tool says that it did not work.
    """

    async def work() -> int:
        from treadle.cli.graphs import parse_object
        from treadle.services.tools import registry_of, try_tool

        settings = session.settings_of(sandbox=session.sandbox_name(sandbox), allow_host=allow_host or None)
        args = parse_object(arguments, "The second argument")
        registry = registry_of(settings)
        result = await try_tool(registry, name, args, folder.absolute(), settings, output.note)
        if not registry.is_enabled(name):
            output.note(f"No agent has {name}: [tools] enabled does not name it.")
        if json:
            output.data_json(result)
        else:
            _show_result(result)
        return 1 if result.is_error else 0

    session.run(work)


def _show(view: ToolView) -> None:
    output.data(f"{view.name} takes {view.arguments}\n\n{view.about}")
    output.data(f"\neffects: {view.effects}\nenabled: {'yes' if view.enabled else 'no'}")
    if view.package:
        output.data(f"from: {view.package}\napprove: {view.approve}")
    if view.note:
        output.data(f"note: {view.note}")
    output.data("\nArguments, as JSON Schema:")
    output.data_json(view.parameters, pretty=True)


def _show_result(result: ToolResult) -> None:
    output.data(result.text.removesuffix("\n"))
    changed = f", changed {', '.join(result.changed)}" if result.changed else ""
    output.note(f"({output.duration(result.seconds)}{changed})")
