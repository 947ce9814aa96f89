"""`treadle worker`, `treadle tasks list`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from treadle.cli import agents, crew, output, session
from treadle.cli.look import JSON, STORE
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.engine.orchestrator import AnyGraph
    from treadle.engine.registry import NodeRegistry
    from treadle.engine.worker import Worker
    from treadle.settings import Settings


def add_to(app: typer.Typer) -> None:
    app.command("worker")(worker)
    tasks = typer.Typer(help="Tasks that wait, run or failed.", no_args_is_help=True)
    tasks.command("list")(list_tasks)
    tasks.callback()(lambda: None)
    app.add_typer(tasks, name="tasks")
    app.add_typer(crew.group(), name="workers")


def list_tasks(
    state: str | None = typer.Option(None, "--state", help="Only waiting, ready, leased or failed ones."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """List the tasks of all runs that are not done."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.runs.tasks(state=state)
        if json:
            for task in found:
                output.data_json(task)
            return
        if not found:
            output.note("No task waits, runs or failed.")
            return
        headers = ("RUN", "TASK", "STATE", "ATTEMPT", "QUEUE", "WORKER", "")
        rows = [
            (t.run_id, t.activation, t.state.value, t.attempt, t.queue, t.worker or "-", output.clip(t.error or "", 50))
            for t in found
        ]
        output.table(headers, rows, right=("ATTEMPT",))

    session.run(work)


def worker(
    imports: list[str] = typer.Option(
        [],
        "--import",
        "-i",
        metavar="MODULE",
        help="Where graphs and node functions are: pkg.module, pkg.module:graph or file.py. Repeatable.",
    ),
    queues: str | None = typer.Option(
        None, "--queues", "-q", metavar="A,B", help="Queues to take tasks from; by default, `default`."
    ),
    node_types: str | None = typer.Option(
        None, "--node-types", metavar="A,B", help="Of the registered node types, offer only these."
    ),
    capacity: int = typer.Option(4, "--capacity", "-c", min=1, max=10_000, help="Tasks run at once."),
    processes: int | None = typer.Option(
        None, "--processes", "-p", min=1, max=10_000, help="Processes for cpu_bound functions; by default one per core."
    ),
    lease: float = typer.Option(
        10.0, "--lease", min=2.0, max=3600.0, metavar="SECONDS", help="A dead worker's tasks are taken over after this."
    ),
    model: str | None = typer.Option(None, "--model", metavar="NAME", help="Of builds: take those with this model."),
    provider: str | None = typer.Option(None, "--provider", metavar="NAME", help="As for `treadle build`."),
    tier: str | None = typer.Option(None, "--tier", metavar="NAME", help="As for `treadle build`."),
    sandbox: str | None = typer.Option(None, "--sandbox", metavar="NAME", help="As for `treadle build`."),
    store: str | None = STORE,
) -> None:
    """Take tasks from the store until stopped.

    Tasks of the graphs that are imported, and of any graph those of the node types that are registered. Without
    --import: tasks of builds that were started on other machines. Ctrl-C or SIGTERM: finish what runs here, then end.
    Once more: give it back at once.
    """
    if not imports:
        if any(option is not None for option in (queues, node_types, processes)):
            raise UsageError(
                "--queues, --node-types and --processes are about code that is imported; the worker was not started.",
                hint="Give --import pkg.module, or neither: builds have queues of their own.",
            )
        name, script = session.script_in(provider)
        settings = session.settings_of(
            model=model, provider=name, tier=tier, sandbox=session.sandbox_name(sandbox), store=store
        )
        session.run(lambda: _help_with_builds(settings, script, capacity, lease))
        return

    session.run(
        lambda: _serve_own(imports, node_types, processes or 0, _names(queues or "default"), capacity, lease, store)
    )


async def _serve_own(
    imports: list[str],
    node_types: str | None,
    processes: int,
    queues: tuple[str, ...],
    capacity: int,
    lease: float,
    store: str | None,
) -> None:
    """Run tasks of the graphs and node types that the user's modules hold."""
    settings = session.settings_of(store=store)
    async with AsyncExitStack() as opened:
        graphs, registry = await _imported(imports, settings, opened)
        if node_types is not None:
            registry = registry.only(_names(node_types))
        working = session.working(
            settings,
            registry=registry,
            capacity=capacity,
            processes=processes,
            queues=queues,
            where="known",
            lease_seconds=lease,
        )
        application = await opened.enter_async_context(working)
        for graph in graphs:
            application.orchestrator.add_graph(graph)
        serving = application.orchestrator.worker
        known = [*serving.graph_pins(), *(f"node type {name}" for name in sorted(registry))]
        output.note(f"Worker {serving.name} takes tasks of {', '.join(known)}. Ctrl-C stops it.")
        drained = await _until_stopped(serving)
    if not drained:
        session.leave(session.INTERRUPTED)


async def _imported(
    imports: list[str], settings: Settings, opened: AsyncExitStack
) -> tuple[list[AnyGraph], NodeRegistry]:
    """The graphs of modules and of agents, and the registry of all their nodes."""
    from treadle.engine.registry import NodeRegistry
    from treadle.services import targets

    modules = [place for place in imports if not place.startswith(agents.PREFIX)]
    graphs, registry = targets.load_all(modules, Path.cwd()) if modules else ([], NodeRegistry())
    for place in imports:
        if place not in modules:
            graphs.append((await opened.enter_async_context(agents.code_of(place, settings)))[0])
    return graphs, registry


async def _help_with_builds(settings: Settings, script: Path | None, capacity: int, lease: float) -> None:
    """Run nodes of builds that were started elsewhere, with the model and the sandbox of this machine."""
    async with session.looking(settings=settings) as looking:
        guest = await looking.builds.guest(script)
    async with session.working(
        settings, capacity=capacity, queues=(guest.queue,), where="known", lease_seconds=lease
    ) as application:
        application.crews.script, application.crews.on_note = guest.script, output.note
        application.builds.help_others()
        serving = application.orchestrator.worker
        output.note(f"model    {guest.model.model} ({guest.model.provider}) answers, {guest.model.reason}")
        output.note(f"sandbox  {guest.sandbox}")
        output.note(f"Worker {serving.name} takes tasks of builds with that model. Ctrl-C stops it.")
        drained = await _until_stopped(serving)
    if not drained:
        session.leave(session.INTERRUPTED)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


async def _until_stopped(serving: Worker) -> bool:
    """Work until told to stop, then drain; False if that was cut short."""
    import asyncio

    stops = session.Stops()
    await stops.first.wait()
    held = len(serving.held)
    if held:
        output.note(f"\nFinishing {held} task{'s' if held > 1 else ''}; once more gives them back at once ...")
    draining, cut_short = asyncio.ensure_future(serving.drain()), asyncio.ensure_future(stops.second.wait())
    await asyncio.wait((draining, cut_short), return_when=asyncio.FIRST_COMPLETED)
    cut_short.cancel()
    return draining.done()
