"""`treadle limits <verb>`: how much of a queue may run at once, and how fast it may begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON, STORE

if TYPE_CHECKING:
    from treadle.domain.limit import LimitRow

QUEUE = typer.Argument(..., metavar="QUEUE", help="A queue, as `treadle tasks list` shows it.")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Limits of queues.", no_args_is_help=True)
    group.command("set")(set_limit)
    group.command("list")(list_limits)
    group.command("rm")(remove_limit)
    app.add_typer(group, name="limits")


def set_limit(
    queue: str = QUEUE,
    concurrency: int | None = typer.Option(None, "--concurrency", min=1, metavar="N", help="Tasks run at once."),
    per_key: int | None = typer.Option(
        None, "--per-key", min=1, metavar="N", help="Tasks with the same key run at once (`add_node(key=...)`)."
    ),
    rate: str | None = typer.Option(None, "--rate", metavar="N/TIME", help="Tasks begun per time: 10/60s, 5/m."),
    store: str | None = STORE,
) -> None:
    """Limit a queue, for all workers on the store, from now on.

    Takes the place of what held for it before.
    """

    async def work() -> None:
        async with session.working(session.settings_of(store=store), capacity=0) as application:
            limits = application.orchestrator.limits
            await limits.set(queue, concurrency=concurrency, per_key=per_key, rate=rate)

    session.run(work)


def list_limits(json: bool = JSON, store: str | None = STORE) -> None:
    """List the limits, with what counts against them now."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.orchestrator.limits.list()
        if json:
            for row in found:
                output.data_json(row)
            return
        if not found:
            output.note("No queue has a limit.")
            return
        output.table(("QUEUE", "RUNNING", "PER KEY", "BEGUN"), [_shown(row) for row in found])

    session.run(work)


def _shown(row: LimitRow) -> tuple[str, str, str, str]:
    limit = row.limit
    running = str(row.held) if limit.concurrency is None else f"{row.held} of {limit.concurrency}"
    begun = "-" if limit.rate is None else f"{row.begun} of {limit.rate} in {limit.rate_seconds:g} s"
    return limit.queue, running, "-" if limit.per_key is None else str(limit.per_key), begun


def remove_limit(queue: str = QUEUE, store: str | None = STORE) -> None:
    """Remove the limit of a queue."""

    async def work() -> None:
        async with session.looking(store) as application:
            await application.orchestrator.limits.remove(queue)

    session.run(work)
