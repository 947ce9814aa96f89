"""`treadle db status` and `treadle validate`."""

from __future__ import annotations

import dataclasses
from typing import Any

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON, STORE


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="The place where runs are kept.", no_args_is_help=True)
    group.command("status")(status)
    app.add_typer(group, name="db")
    app.command("validate")(validate)


def status(json: bool = JSON, store: str | None = STORE) -> None:
    """Show where runs are kept, how large it is, and how many there are."""

    async def work() -> None:
        async with session.looking(store) as application:
            found = await application.store_status()
        if json:
            output.data_json(found)
            return
        output.data(f"store   {found.url}")
        output.data(f"file    {output.size(found.bytes) if found.exists else 'not there yet'}")
        output.data(
            f"runs    {found.runs} ({', '.join(f'{n} {name}' for name, n in found.by_status.items()) or 'none'})"
        )
        output.data(f"workers {found.workers}")

    session.run(work)


def validate(json: bool = JSON) -> None:
    """Check the settings, and show where each is from."""
    settings = session.settings_of()
    shown = list(_settings_rows(settings))
    if json:
        output.data_json({name: {"value": value, "from": origin} for name, value, origin in shown})
        return
    output.table(("SETTING", "VALUE", "FROM"), shown)
    output.note(f"\nThe settings of {settings.project} are in order.")


def _settings_rows(settings: Any) -> list[tuple[str, str, str]]:
    rows = []
    for section in ("model", "sandbox", "store", "build"):
        values = getattr(settings, section)
        for item in dataclasses.fields(values):
            if item.repr:
                name, value = f"{section}.{item.name}", getattr(values, item.name)
                rows.append((name, str(value) or "-", settings.origins.get(name, "default")))
    return rows
