"""`treadle workers`: who is alive, what each holds, and how fast it goes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON, STORE

if TYPE_CHECKING:
    from treadle.services.workers import WorkerReport

WATCH = typer.Option(False, "--watch", "-w", help="Show it again every 2 s until Ctrl-C.")
WATCH_SECONDS = 2.0
HELD_SHOWN = 5


def group() -> typer.Typer:
    """The commands `treadle workers` and `treadle workers list`, which are the same."""
    made = typer.Typer(help="Who is at work, on what, and how fast.", invoke_without_command=True)
    made.command("list")(list_workers)

    @made.callback()
    def default(context: typer.Context, json: bool = JSON, watch: bool = WATCH, store: str | None = STORE) -> None:
        """Show the workers that are alive.

        Their state, what each holds and how fast it goes.
        """
        if context.invoked_subcommand is None:
            list_workers(json, watch, store)

    return made


def list_workers(json: bool = JSON, watch: bool = WATCH, store: str | None = STORE) -> None:
    """List the workers that are alive, and those that are not but hold tasks."""

    async def work() -> None:
        import asyncio

        from treadle.services import workers

        async with session.looking(store) as application:
            while True:
                found = await workers.report(application.orchestrator.store)
                if watch and not json and sys.stdout.isatty():
                    output.clear()
                    output.data(output.clock(await application.orchestrator.store.now()))
                _show(found, json)
                if not watch:
                    return
                await asyncio.sleep(WATCH_SECONDS)

    session.run(work)


def _show(found: Sequence[WorkerReport], json: bool) -> None:
    if json:
        for report in found:
            output.data_json(report)
    elif not found:
        output.note("No worker is alive. Start one: treadle worker --import MODULE")
    else:
        for line in lines(found, output.columns(sys.stdout)):
            output.data(line)


def lines(found: Sequence[WorkerReport], width: int) -> Iterable[str]:
    """What people are shown: a line per worker, and below it who it is and what it holds."""
    name = max(min(max(len(report.worker) for report in found), width - 44), 6)
    yield output.styled(f"{'WORKER':<{name}}  {'STATE':<8}  {'BUSY':>9}  {'TASKS/MIN':>9}  {'SEEN':>8}", "dim")
    for report in found:
        busy = f"{report.held} of {report.capacity}"
        seen = output.duration(report.seen_seconds) + " ago" if report.seen_seconds >= 10 else "now"
        state = output.state(report.state, width=8)
        yield f"{clip_middle(report.worker, name):<{name}}  {state}  {busy:>9}  {_pace(report):>9}  {seen:>8}"
        yield from (output.styled(f"  {line}", "dim") for line in _wrapped(_about(report), width - 2))
        for task in report.tasks[:HELD_SHOWN]:
            again = f", attempt {task.attempt}" if task.attempt > 1 else ""
            line = f"  {task.run_id}  {output.duration(task.seconds):>6}  {task.activation}{again}"
            yield output.clip_end(line, width)
        if report.held > len(report.tasks[:HELD_SHOWN]):
            yield f"  and {report.held - len(report.tasks[:HELD_SHOWN])} more: --json tells them"
    if len(found) > 1:
        held, capacity, pace = (sum(getattr(r, of) for r in found) for of in ("held", "capacity", "per_minute"))
        yield f"{len(found)} workers, {held:,} of {capacity:,} busy, {pace:,.0f} tasks/min"


def _pace(report: WorkerReport) -> str:
    return f"{report.per_minute:,.0f}" if report.per_minute >= 10 else f"{report.per_minute:.1f}"


def _about(report: WorkerReport) -> str:
    parts = [f"process {report.pid} on {report.host}, up {output.duration(report.up_seconds)}"]
    parts.append(f"{report.finished:,} finished" + (f", {report.failed:,} failed" if report.failed else ""))
    for what, names in (("queues", report.queues), ("nodes", report.node_types), ("graphs", report.graphs)):
        if names:
            parts.append(f"{what} {', '.join(name.partition('@')[0] for name in names)}")
    return "; ".join(parts)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    found = textwrap.wrap(text, max(width, 20))
    return found if len(found) <= 3 else [*found[:2], output.clip_end(" ".join(found[2:]), width)]


def clip_middle(text: str, width: int) -> str:
    """A name no longer than so: its beginning (the host) and its end (what tells it from others)."""
    if len(text) <= width:
        return text
    end = min(max(width // 2, 1), 14)
    return f"{text[: width - end - 1]}…{text[-end:]}"
