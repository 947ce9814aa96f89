"""`treadle worker`, `treadle workers list`, `treadle tasks list`."""

from __future__ import annotations

from pathlib import Path

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON, STORE
from treadle.errors import UsageError


def add_to(app: typer.Typer) -> None:
    app.command("worker")(worker)
    for name, function, about in (
        ("tasks", list_tasks, "Tasks that wait, run or failed."),
        ("workers", list_workers, "Workers that are alive."),
    ):
        group = typer.Typer(help=about, no_args_is_help=True)
        group.command("list")(function)
        group.callback()(lambda: None)
        app.add_typer(group, name=name)


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


def list_workers(json: bool = JSON, store: str | None = STORE) -> None:
    """List the workers that were seen lately."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.runs.workers()
        if json:
            for row in found:
                output.data_json(row)
            return
        if not found:
            output.note("No worker is alive.")
            return
        rows = [
            (w.worker, w.host, w.pid, f"{w.held} of {w.capacity}", ",".join(w.queues), output.ago(w.seen_at))
            for w in found
        ]
        output.table(("WORKER", "HOST", "PROCESS", "BUSY", "QUEUES", "SEEN"), rows, right=("PROCESS",))

    session.run(work)


def worker(
    imports: list[str] = typer.Option(
        [],
        "--import",
        "-i",
        metavar="MODULE",
        help="Where graphs are: pkg.module, pkg.module:graph or file.py. Repeatable.",
    ),
    queues: str = typer.Option("default", "--queues", "-q", metavar="A,B", help="Queues to take tasks from."),
    capacity: int = typer.Option(4, "--capacity", "-c", min=1, max=10_000, help="Tasks run at once."),
    store: str | None = STORE,
) -> None:
    """Take tasks from the store until stopped.

    Only tasks of graphs that are imported.
    """
    if not imports:
        raise UsageError("A worker needs the code of graphs; it was not started.", hint="Give --import pkg.module.")

    async def work() -> None:
        import asyncio

        from treadle.services import targets

        graphs, registry = targets.load_all(imports, Path.cwd())
        names = tuple(name.strip() for name in queues.split(",") if name.strip())
        settings = session.settings_of(store=store)
        async with session.working(settings, registry=registry, capacity=capacity, queues=names) as application:
            for graph in graphs:
                application.orchestrator.add_graph(graph)
            pins = ", ".join(application.orchestrator.worker.graph_pins())
            output.note(f"Worker {application.orchestrator.worker.name} takes tasks of {pins}. Ctrl-C stops it.")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                output.note("\nStopping: giving back what runs here ...")
                raise

    session.run(work)
