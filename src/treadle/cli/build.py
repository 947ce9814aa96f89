"""`treadle build`: a goal becomes a repository."""

from __future__ import annotations

import typer


def add_to(app: typer.Typer) -> None:
    """Nothing yet."""


async def finish(application, row, *, json, verbose):  # type: ignore[no-untyped-def]
    raise NotImplementedError
