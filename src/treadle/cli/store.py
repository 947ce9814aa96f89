"""`treadle db <verb>`, the place where runs are kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import typer

from treadle.cli import output, session, times
from treadle.cli.look import JSON, RUN, STORE
from treadle.errors import NotFound, UsageError

if TYPE_CHECKING:
    from treadle.ports.store import SchemaStatus


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="The place where runs are kept.", no_args_is_help=True)
    for command in (status, prune, vacuum, export, import_, migrate):
        group.command(command.__name__.rstrip("_"))(command)
    app.add_typer(group, name="db")


def status(json: bool = JSON, store: str | None = STORE) -> None:
    """Show where runs are kept, how large it is, and how many there are."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.store_status()
        if json:
            output.data_json(found)
            return
        output.data(f"store   {found.url}")
        if found.bytes or not found.exists:
            output.data(f"file    {output.size(found.bytes) if found.exists else 'not there yet'}")
        output.data(
            f"runs    {found.runs} ({', '.join(f'{n} {name}' for name, n in found.by_status.items()) or 'none'})"
        )
        older = f", {found.older_workers} of an earlier release" if found.older_workers else ""
        output.data(f"workers {found.workers}{older}")
        if found.schema.schema:
            pending = f"; still to come: {_pending(found.schema)}" if found.schema.pending else ""
            output.data(f"schema  {found.schema.schema}{pending}")

    session.run(work)


def prune(
    older_than: str = typer.Option("30d", "--older-than", metavar="TIME", help="Ended so long ago: 90m, 12h, 30d, 8w."),
    keep: int = typer.Option(0, "--keep", min=0, metavar="N", help="But keep the newest N that ended."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """Remove runs that ended long ago, and the files that builds among them left here.

    Their space is used again; `treadle db vacuum` gives it back to the disk.
    """
    seconds = times.seconds(older_than, "nothing was removed")

    async def work() -> None:
        async with session.looking(store) as application:
            removed = await application.prune(older_than_seconds=seconds, keep=keep)
        for run_id in removed:
            output.data_json({"run_id": run_id}) if json else output.data(run_id)
        output.note(f"{len(removed)} removed.")

    session.run(work)


def vacuum(json: bool = JSON, store: str | None = STORE) -> None:
    """Give the space of removed runs back to the disk.

    May take long; on SQLite who writes waits meanwhile.
    """

    async def work() -> None:
        async with session.looking(store) as application:
            before = (await application.store_status()).bytes
            await application.vacuum()
            after = (await application.store_status()).bytes
        if json:
            output.data_json({"before": before, "after": after})
        else:
            output.data(f"{output.size(before)} before, {output.size(after)} now" if before else "done")

    session.run(work)


def export(
    run: str | None = RUN,
    out: str = typer.Option("-", "--out", "-o", metavar="FILE", help="Write it there; by default to stdout."),
    store: str | None = STORE,
) -> None:
    """Write a run with its whole log as JSON lines, to keep it or to take it elsewhere."""

    async def work() -> None:
        from treadle.engine import retention

        async with session.looking(store) as application:
            row = await application.runs.find(run)
            lines = [line async for line in retention.export_run(application.orchestrator.store, row.run_id)]
        with _opened(out, "w") as file:
            file.writelines(f"{line}\n" for line in lines)
        output.note(f"Run {row.run_id}: {len(lines) - 1} events.")

    session.run(work)


def import_(
    file: str = typer.Argument("-", metavar="[FILE]", help="What `treadle db export` wrote; by default stdin."),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """Take in a run that was exported, under its own id; one in progress can go on here."""

    async def work() -> None:
        from treadle.engine import retention

        with _opened(file, "r") as lines:
            given = list(lines)
        settings = session.settings_of(store=store)
        async with session.working(settings, capacity=0) as application:
            run_id = await retention.import_run(application.orchestrator.store, given)
            row = await application.runs.find(run_id)
        output.data_json({"run_id": run_id, "status": row.status.value}) if json else output.data(run_id)
        if not row.status.ended:
            output.note(f"next: treadle resume {run_id}")

    session.run(work)


def migrate(
    post: bool = typer.Option(
        False, "--post", help="Also take away what only earlier releases need. Refused while a worker of one is alive."
    ),
    json: bool = JSON,
    store: str | None = STORE,
) -> None:
    """Make the store if it is not there, and bring its schema up to date.

    What only adds to the schema is applied by every command by itself; workers of earlier releases work on. The rest
    waits for --post.
    """

    async def work() -> None:
        settings = session.settings_of(store=store)
        async with session.working(settings, capacity=0) as application:
            applied = await application.orchestrator.store.migrate(post=post)
            found = await application.store_status()
        schema = found.schema
        if json:
            output.data_json(
                {"url": found.url, "applied": applied, "up_to_date": not schema.pending, **_fields(schema)}
            )
            return
        for name in applied:
            output.data(f"applied {name}")
        if not schema.pending:
            output.data(f"{found.url} is up to date")
            return
        output.data(f"{found.url} has schema {schema.schema}; still to come: {_pending(schema)}")
        output.note("Once no worker of an earlier release is left: treadle db migrate --post")

    session.run(work)


def _fields(schema: SchemaStatus) -> dict[str, Any]:
    return {name: getattr(schema, name) for name in schema.__struct_fields__}


def _pending(schema: SchemaStatus) -> str:
    return ", ".join(f"{item.number} {item.name} ({item.phase})" for item in schema.pending)


@contextmanager
def _opened(name: str, mode: str) -> Iterator[IO[str]]:
    """A file by name; `-` is stdin or stdout."""
    if name == "-":
        yield sys.stdin if mode == "r" else sys.stdout
        return
    try:
        with open(name, mode, encoding="utf-8") as file:
            yield file
    except FileNotFoundError as error:
        raise NotFound(f"There is no {name}; nothing was done.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be used: {error}.") from error
