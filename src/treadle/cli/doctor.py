"""`treadle doctor`: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "bad": ("BAD ", "red")}


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(json: bool = JSON) -> None:
    """Look whether a build can work here.

    Python, git, sandboxes, graphics cards, models and their memory, disk and project, and what to do about each.
    Exits with 1 if it cannot.
    """

    async def work() -> int:
        from treadle.services.doctor import examine

        bad = 0
        async for finding in examine(session.settings_of()):
            bad += finding.state == "bad"
            if json:
                output.data_json(finding)
                continue
            mark, style = _MARKS[finding.state]
            output.data(f"{output.styled(mark, style)}  {finding.name:<20}  {finding.what}")
            if finding.todo:
                output.data(f"      {'':<20}  -> {finding.todo}")
        if not json:
            output.note(
                "\nA build cannot work here yet; see what is marked BAD." if bad else "\nA build can work here."
            )
        return 1 if bad else 0

    session.run(work)
