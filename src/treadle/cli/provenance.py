"""Commands that tell where code comes from: blame, products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from treadle.cli import output, session
from treadle.cli.look import JSON, RUN, STORE
from treadle.errors import TreadleError

if TYPE_CHECKING:
    from treadle.services.provenance import Blame, Product, TaskFacts


def add_to(app: typer.Typer) -> None:
    app.command("blame")(blame)
    app.command("products")(products)


def blame(
    place: str = typer.Argument(..., metavar="FILE:LINE", help="Or FILE:FROM-TO."),
    rev: str = typer.Option("", "--rev", help="Look at the file as this commit or branch has it."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """Name the task, model, prompts and review behind a line.

    In a repository that a build made, or in yours. Where the run's store is not there, the commit alone speaks.
    """
    from treadle.services.provenance import Provenance, place_of

    file, first, last = place_of(place)

    async def work() -> None:
        async with AsyncExitStack() as stack:
            try:
                known = (await stack.enter_async_context(session.looking(store))).orchestrator.store
            except TreadleError:
                if store is not None:
                    raise
                known = None  # the project has no runs, or its store cannot be reached: trailers are enough
            found = await Provenance(known).blame(file, first, last, rev)
        for part in found:
            if json:
                output.data_json({**msgspec.to_builtins(part), "last": part.last})
            else:
                output.data("\n".join(_blamed(part)))

    session.run(work)


def products(run: str | None = RUN, json: bool = JSON, store: str | None = STORE) -> None:
    """List what a run made: its commits, each with its task and files."""
    from treadle.services.provenance import Provenance

    async def work() -> None:
        async with session.looking(store) as application:
            row = await application.runs.find(run)
            snapshots = application.crews.snapshots(application.home, row.run_id).git
            found = await Provenance(application.orchestrator.store).products(row.run_id, snapshots)
        if json:
            output.data_json(found)
            return
        output.note(f"{found.place}{f', branch {found.branch}' if found.branch else ''}")
        output.table(("COMMIT", "TASK", "MODEL", "FILES", "WHAT"), [_row(product) for product in found.commits])

    session.run(work)


def _row(product: Product) -> tuple[str, ...]:
    files = ", ".join(product.files) or "-"
    return (product.commit[:10], product.by.task, product.by.model or "-", output.clip(files, 40), product.subject)


def _blamed(part: Blame) -> Iterator[str]:
    lines = f"{part.first}-{part.last}" if part.last > part.first else str(part.first)
    yield output.styled(f"{part.path}:{lines}", "bold") + f"  {output.clip(part.lines[0].strip(), 80)}"
    if not part.commit:
        yield "  not committed yet"
        return
    yield f"  commit   {part.commit[:10]}  {part.subject}"
    yield f"  by       {part.author}, {output.moment(part.when)}"
    if part.by is None:
        yield "  not the work of Treadle"
        return
    for name, value in _told(part.by):
        yield f"  {name:8} {value}"


def _told(by: TaskFacts) -> Iterator[tuple[str, Any]]:
    yield "run", f"{by.run}  {output.clip(by.goal, 80)}".rstrip() + ("" if by.from_log else "  (its log is not here)")
    yield "task", f"{by.task}  {by.title}"
    if by.merge:
        yield "merge", f"conflicts settled by {by.merge}" if by.merge != "git" else "without conflicts"
    if by.model:
        yield "model", by.model
    if by.prompts:
        yield "prompts", ", ".join(by.prompts)
    if by.review:
        yield "review", "; ".join([by.review, *by.said])
    if by.tokens is not None:
        yield "cost", f"{output.tokens(by.tokens)} tokens" + ("" if by.cost is None else f", {output.cost(by.cost)}")
