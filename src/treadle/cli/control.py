"""Commands that change a run from outside: cancel, pause, resume, answer, retry, fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from treadle.cli import output, resume, session
from treadle.cli.graphs import parse_json, parse_object
from treadle.cli.look import JSON, RUN, STORE
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.domain.task import RunRow

DETACH = typer.Option(False, "--detach", help="Only record it; do not go on with the run here.")
GRAPH = typer.Option(None, "--graph", metavar="TARGET", help="The graph's code, if the run did not record where it is.")
VERBOSE = typer.Option(False, "--verbose", "-v", help="Show model answers as they are written.")


def add_to(app: typer.Typer) -> None:
    for command in (cancel, pause, resume_run, answer, retry, fork):
        app.command(command.__name__.partition("_")[0])(command)


def cancel(
    run: str | None = RUN,
    reason: str = typer.Option("", "--reason", help="Recorded with it."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """End a run for good.

    What is being run of it is stopped, wherever that is.
    """

    async def work() -> None:
        async with session.looking(store) as application:
            row = await application.runs.find(run)
            _said(await application.orchestrator.cancel(row.run_id, reason), json)

    session.run(work)


def pause(run: str | None = RUN, json: bool = JSON, store: str | None = STORE) -> None:
    """Hold a run until it is resumed.

    Nothing more of it is started; what runs may finish.
    """

    async def work() -> None:
        async with session.looking(store) as application:
            row = await application.runs.find(run)
            _said(await application.orchestrator.pause(row.run_id), json, f"next: treadle resume {row.run_id}")

    session.run(work)


def resume_run(
    run: str | None = RUN,
    graph: str | None = GRAPH,
    json: bool = JSON,
    verbose: bool = VERBOSE,
    detach: bool = typer.Option(False, "--detach", help="Go on in the background."),
    store: str | None = STORE,
) -> None:
    """Go on with a stopped, paused or killed run.

    Nothing that was recorded is done again. A run that is alive is attached to.
    """
    session.run(lambda: resume.go_on(run, resume.How(graph, json, verbose, detach, store)))


def answer(
    run: str | None = typer.Argument(None, metavar="[RUN]", help="A run; the latest if only a value is given."),
    value: str | None = typer.Argument(None, metavar="VALUE", help="JSON, @file, or plain text."),
    task: str | None = typer.Option(None, "--task", metavar="TASK", help="Which question, if there are several."),
    graph: str | None = GRAPH,
    json: bool = JSON,
    verbose: bool = VERBOSE,
    detach: bool = DETACH,
    store: str | None = STORE,
) -> None:
    """Answer what a run asks, and go on with it."""
    if value is None:
        run, value = None, run
    if value is None:
        raise UsageError("An answer is missing; nothing was answered.", hint="Write: treadle answer [RUN] VALUE")
    given_value = _json_or_text(value)

    async def change(given: resume.Given) -> str:
        activation = await given.application.runs.activation(given.row, task)
        await given.orchestrator.answer(given.row.run_id, given_value, interrupt=activation)
        return given.row.run_id

    session.run(lambda: resume.change_and_go_on(run, change, resume.How(graph, json, verbose, detach, store)))


def retry(
    run: str | None = RUN,
    task: str | None = typer.Option(None, "--task", metavar="TASK", help="Only this task; by default all that failed."),
    budget_tokens: int | None = typer.Option(None, "--budget-tokens", min=1, help="Raise the run's budget first."),
    budget_money: float | None = typer.Option(None, "--budget-money", min=0, metavar="USD", help="The same."),
    budget_seconds: float | None = typer.Option(None, "--budget-seconds", min=1, metavar="S", help="The same."),
    graph: str | None = GRAPH,
    json: bool = JSON,
    verbose: bool = VERBOSE,
    detach: bool = DETACH,
    store: str | None = STORE,
) -> None:
    """Try the failed tasks of a run again."""

    async def change(given: resume.Given) -> str:
        for kind, limit in {"tokens": budget_tokens, "money": budget_money, "seconds": budget_seconds}.items():
            if limit is not None:
                await given.raise_budget(kind, limit)
        await given.orchestrator.retry(given.row.run_id, await given.application.runs.activation(given.row, task))
        return given.row.run_id

    session.run(lambda: resume.change_and_go_on(run, change, resume.How(graph, json, verbose, detach, store)))


def fork(
    run: str | None = RUN,
    event: int | None = typer.Option(None, "--event", "-e", min=1, help="Fork after this event; by default the last."),
    changes: str | None = typer.Option(None, "--changes", metavar="JSON", help="Changes of the state, JSON or @file."),
    graph: str | None = GRAPH,
    json: bool = JSON,
    verbose: bool = VERBOSE,
    detach: bool = DETACH,
    store: str | None = STORE,
) -> None:
    """Start a new run with the past of another.

    They share what happened up to an event, and are independent from there on.
    """
    wanted = parse_object(changes, "--changes")

    async def change(given: resume.Given) -> str:
        return await given.fork(event, wanted)

    how = resume.How(graph, json, verbose, detach, store)
    session.run(lambda: resume.change_and_go_on(run, change, how, forking=True))


def _json_or_text(text: str) -> object:
    if text.startswith("@"):
        return parse_json(text, "VALUE")
    try:
        return parse_json(text, "VALUE")
    except UsageError:
        return text


def _said(row: RunRow, json: bool, hint: str = "") -> None:
    """Report the new state of a run."""
    status = "paused" if row.paused and not row.status.ended else row.status.value
    if json:
        output.data_json({"run_id": row.run_id, "status": row.status.value, "paused": row.paused})
        return
    output.data(f"{row.run_id}  {output.state(status)}")
    if hint:
        output.note(hint)
