"""Commands that look at runs: runs, status, logs, events, debug."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from treadle.cli import output, session

if TYPE_CHECKING:
    from treadle.services.runs import RunReport, RunSummary

RUN = typer.Argument(None, metavar="[RUN]", help="A run's id or the beginning of it; the latest if left out.")
STORE = typer.Option(None, "--store", metavar="URL", help="Where runs are kept; by default the project's own file.")
JSON = typer.Option(False, "--json", help="Write JSON on stdout.")
FOLLOW = typer.Option(False, "--follow", "-f", help="Go on until the run comes to rest.")


def add_to(app: typer.Typer) -> None:
    app.command("runs")(runs)
    app.command("status")(status)
    app.command("logs")(logs)
    app.command("events")(events)
    app.command("debug")(debug)


def runs(
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many, newest first."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """List runs, newest first."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.runs.recent(limit=limit)
        if json:
            for summary in found:
                output.data_json(summary)
            return
        if not found:
            output.note('No runs here yet. Start one: treadle build "GOAL"')
            return
        output.table(
            ("RUN", "STATUS", "TOOK", "TOKENS", "STARTED", "WHAT"),
            [
                (
                    s.run_id,
                    shown_status(s),
                    output.duration(s.seconds),
                    output.tokens(s.tokens) if s.tokens else "-",
                    output.ago(s.created_at),
                    output.clip(s.title, 60),
                )
                for s in found
            ],
            right=("TOOK", "TOKENS"),
        )

    session.run(work)


def status(run: str | None = RUN, json: bool = JSON, store: str | None = STORE) -> None:
    """Show how a run stands.

    Its tasks with states, attempts, times and tokens, its budgets, and what it asks.
    """

    async def work() -> None:
        async with session.looking(store) as application:
            report = await application.runs.report(await application.runs.find(run))
        if json:
            output.data_json(report_json(report))
        else:
            show_report(report)

    session.run(work)


def logs(run: str | None = RUN, follow: bool = FOLLOW, json: bool = JSON, store: str | None = STORE) -> None:
    """Tell what happened, one line each."""
    from treadle.services.runs import Narrator

    narrator = Narrator()

    def show(event: Any) -> None:
        line = narrator.line(event)
        if line is None:
            return
        if json:
            output.data_json(line)
        else:
            style = {"good": "green", "bad": "red"}.get(line.level, "")
            task = f"{line.task}: " if line.task else ""
            output.data(f"{output.styled(output.clock(line.at), 'dim')}  {task}{output.styled(line.text, style)}")

    session.run(lambda: _each_event(run, follow, store, show))


def events(run: str | None = RUN, follow: bool = FOLLOW, json: bool = JSON, store: str | None = STORE) -> None:
    """Show the log itself.

    With --json each event whole, one on a line.
    """
    from treadle.services.runs import event_summary

    def show(event: Any) -> None:
        if json:
            output.data_json(event)
        else:
            where = f" {event.activation}" if event.activation else ""
            step = f" [{event.step}]" if event.step else ""
            summary = output.clip(event_summary(event), 100)
            output.data(
                f"{event.seq:>5}  {output.clock(event.at)}  {output.styled(event.type, 'bold')}{where}{step}  {summary}"
            )

    session.run(lambda: _each_event(run, follow, store, show))


async def _each_event(run: str | None, follow: bool, store: str | None, show: Any) -> None:
    async with session.looking(store) as application:
        row = await application.runs.find(run)
        if follow:
            async for event in application.orchestrator.follow(row.run_id, modes="events"):
                show(event)
        else:
            for event in await application.runs.events(row):
                show(event)


def debug(
    task: str | None = typer.Argument(None, metavar="[TASK]", help="A task, e.g. write#2; all tasks if left out."),
    run: str | None = typer.Option(None, "--run", metavar="RUN", help="The run; the latest if left out."),
    full: bool = typer.Option(False, "--full", help="Show long outputs of tools whole, not as models saw them."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """Show all that a task did, and why it failed.

    Every prompt, reply, tool call, test output and diff. A run's id in place of a task means that run.
    """
    from treadle.cli import stories

    async def work() -> None:
        async with session.looking(store) as application:
            told = await application.stories.find(run, task, whole=full)
            summary = await application.runs.summary(told.run)
        if json:
            for story in told.tasks:
                output.data_json(story)
        else:
            stories.show(told, shown_status(summary))

    session.run(work)


def shown_status(summary: RunSummary) -> str:
    """The status of a run in one word: of a build that is done, whether it reached its goal."""
    if summary.solved is not None:
        return "solved" if summary.solved else "unsolved"
    status = summary.status.value
    return "paused" if summary.paused and status in ("waiting", "running") else status


def report_json(report: RunReport) -> dict[str, Any]:
    """The machine-readable form of `status`."""
    timeline, summary = report.timeline, report.summary
    return {
        "run_id": summary.run_id,
        "status": summary.status.value,
        "solved": summary.solved,
        "paused": summary.paused,
        "title": summary.title,
        "kind": summary.kind,
        "graph": summary.graph,
        "created_at": summary.created_at,
        "updated_at": summary.updated_at,
        "seconds": summary.seconds,
        "tokens": {"input": timeline.input_tokens, "output": timeline.output_tokens},
        "cost": summary.cost,
        "error": summary.error,
        "labels": report.run.labels,
        "last_seq": report.run.last_seq,
        "tasks": report.tasks,
        "budgets": report.budgets,
        "asks": report.asks,
        "begins_at": report.begins_at,
        "idle": report.is_idle,
        "workers": report.owners,
    }


def show_report(report: RunReport) -> None:
    summary, timeline = report.summary, report.timeline
    name = shown_status(summary)
    total = timeline.input_tokens + timeline.output_tokens
    output.data(f"run     {output.styled(summary.run_id, 'bold')}  {output.state(name)}")
    output.data(f"what    {output.clip(summary.title, 100)}")
    output.data(f"graph   {summary.graph}")
    verb = "took" if summary.status.ended else "so far"
    if report.begins_at is None:
        output.data(f"began   {output.ago(summary.created_at)}, {verb} {output.duration(summary.seconds)}")
    else:
        output.data(f"begins  {output.moment(report.begins_at)}")
    if total:
        from treadle.services.timeline import speed

        fast = speed(timeline.output_tokens, timeline.model_seconds)
        rate = f", {fast:.0f} tokens/s" if fast else ""
        output.data(
            f"tokens  {output.tokens(total)} ({timeline.input_tokens:,} in, {timeline.output_tokens:,} out{rate})"
        )
    from treadle.services.runs import amount

    for budget in report.budgets:
        if budget.limit is not None:
            spent, limit = amount(budget.kind, budget.spent), amount(budget.kind, budget.limit)
            output.data(f"budget  {budget.kind}: {spent} of {limit} spent")
    if report.owners:
        output.data(f"worker  {', '.join(report.owners)}")
    elif report.is_idle:
        output.data(f"worker  {output.styled('none: nothing works on it now', 'yellow')}")
    if summary.error:
        output.data(f"error   {output.styled(output.clip(summary.error, 300), 'red')}")
    output.data("")
    _show_tasks(report)
    for question in report.asks:
        output.data(f"\n{output.styled('asks', 'yellow')}    {question.activation}: {question.value}")
    for line in next_steps(report):
        output.note(line)


def _show_tasks(report: RunReport) -> None:
    rows = [
        (
            task.name,
            task.state.value,
            task.attempt or "-",
            output.duration(task.elapsed(time.time())),
            output.tokens(task.input_tokens + task.output_tokens) if task.model_calls else "-",
            output.clip(task.error or task.note, 70),
        )
        for task in report.tasks
    ]
    output.table(("TASK", "STATE", "ATTEMPT", "TOOK", "TOKENS", ""), rows, right=("ATTEMPT", "TOOK", "TOKENS"))


def next_steps(report: RunReport) -> list[str]:
    """What to type next, by how the run stands."""
    run_id = report.summary.run_id
    if report.asks:
        return ["", f"next: treadle answer {run_id} VALUE"]
    run = report.run
    is_late = run.deadline is not None and run.updated_at >= run.deadline  # a retry could only end again
    by_status = {
        "error": [f"treadle debug --run {run_id}", f"treadle {'fork' if is_late else 'retry'} {run_id}"],
        "running": [f"treadle logs -f {run_id}", f"treadle cancel {run_id}"],
        "waiting": [f"treadle resume {run_id}"],
    }.get(report.summary.status.value, [])
    if report.summary.solved is False:
        by_status = [f"treadle debug --run {run_id}"]
    if report.is_idle:
        by_status = [f"treadle resume {run_id}", f"treadle cancel {run_id}"]
    return ["", *(f"next: {command}" for command in by_status)] if by_status else []
