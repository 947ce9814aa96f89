"""`treadle models`: list, pull, rm, ps, unload."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON

if TYPE_CHECKING:
    from treadle.services.models import Models

_BAR = 20
_LINES_EVERY_SECONDS = 5.0


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Models on this machine: list, pull, rm, ps, unload.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("pull")(pull)
    group.command("rm")(remove)
    group.command("ps")(loaded)
    group.command("unload")(unload)
    app.add_typer(group, name="models")


def _models() -> Models:
    from treadle.services.models import Models

    return Models(session.settings_of())


def list_models(json: bool = JSON) -> None:
    """List models with their tiers, and say which would answer."""

    async def work() -> None:
        models = _models()
        found = await models.list()
        if json:
            for model in found:
                output.data_json(model)
            return
        rows = [
            (
                m.name + (" *" if m.is_default else ""),
                m.provider,
                ", ".join(m.tiers) or "-",
                output.size(m.bytes) if m.bytes else "-",
                m.state if m.state != "partial" else f"{m.partial_bytes * 100 // m.bytes}% fetched",
                m.license or "-",
                output.clip(m.about, 60),
            )
            for m in found
        ]
        output.table(("NAME", "PROVIDER", "TIER", "SIZE", "HERE", "LICENSE", "ABOUT"), rows, right=("SIZE",))
        choice = await models.choice()
        output.note(f"\n{choice.model} ({choice.provider}) answers, {choice.reason}.")

    session.run(work)


def pull(
    name: str | None = typer.Argument(None, metavar="[NAME]", help="By default the built-in model."),
    json: bool = JSON,
) -> None:
    """Fetch a model and verify it.

    Goes on from where an earlier pull stopped.
    """

    async def work() -> None:
        bar = ProgressBar()
        try:
            model = await _models().pull(name, bar.show)
        finally:
            bar.close()
        if json:
            output.data_json({"name": model.name, "path": str(model.path)})
        else:
            output.data(f"{model.name} is here: {model.path}")

    session.run(work)


def remove(name: str = typer.Argument(..., metavar="NAME"), json: bool = JSON) -> None:
    """Remove the file of a model."""

    async def work() -> None:
        freed = await _models().remove(name)
        if json:
            output.data_json({"name": name, "freed_bytes": freed})
        else:
            output.data(f"{output.size(freed)} freed" if freed else f"{name} was not here")

    session.run(work)


def loaded(json: bool = JSON) -> None:
    """List the models that are in memory."""

    async def work() -> None:
        found = await _models().loaded()
        if json:
            for model in found:
                output.data_json(model)
            return
        if not found:
            output.note("No model is loaded.")
            return
        rows = [
            (
                m.model,
                m.pid,
                output.size(m.rss_bytes),
                m.context,
                m.threads,
                m.in_flight,
                output.duration(m.idle_seconds),
                output.duration(m.loaded_seconds),
            )
            for m in found
        ]
        headers = ("MODEL", "PROCESS", "MEMORY", "CONTEXT", "THREADS", "ANSWERING", "IDLE", "LOADED")
        output.table(headers, rows, right=headers[1:])

    session.run(work)


def unload(name: str | None = typer.Argument(None, metavar="[NAME]"), json: bool = JSON) -> None:
    """Free the memory that a model holds.

    Its process ends once it has answered what it is asked.
    """

    async def work() -> None:
        said: set[str] = set()

        def note(text: str) -> None:
            if text not in said:
                said.add(text)
                output.note(text)

        names = await _models().unload(name, note)
        if json:
            output.data_json({"unloaded": list(names)})
        else:
            output.data(f"unloaded {', '.join(names)}" if names else "nothing was loaded")

    session.run(work)


class ProgressBar:
    """How far a pull is: a bar that moves on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._first: int | None = None
        self._shown_at = 0.0
        self._note = ""
        self._done = 0
        self._width = 0

    def show(self, done: int, total: int, note: str) -> None:
        """Take in where the pull stands."""
        now = time.monotonic()
        wait = 0.1 if self._is_terminal else _LINES_EVERY_SECONDS
        is_new = note != self._note or (done >= total > self._done)
        if not is_new and now - self._shown_at < wait:
            return
        self._done = done
        if note != self._note:
            self._began, self._first = now, done
        self._shown_at, self._note = now, note
        text = self._line(done, total, note, now)
        if self._is_terminal:
            text = output.clip_end(text, output.columns(sys.stderr) - 1)
            padding = " " * (self._width - len(text))
            self._width = len(text)
            sys.stderr.write("\r" + text + padding)
            sys.stderr.flush()
        else:
            output.note(text)

    def close(self) -> None:
        """Leave the line."""
        if self._is_terminal and self._note:
            output.note()

    def _line(self, done: int, total: int, note: str, now: float) -> str:
        share = done / total if total else 0.0
        speed = (done - (self._first or 0)) / max(now - self._began, 0.001)
        rate = f"  {output.size(speed)}/s" if 0 < share < 1 and speed > 1 else ""
        left = f"  {output.duration((total - done) / speed)} left" if rate and now - self._began > 1 else ""
        bar = "#" * round(share * _BAR)
        shown = f"[{bar.ljust(_BAR, '.')}] " if self._is_terminal else ""
        return f"{shown}{share:4.0%}  {output.size(done)} of {output.size(total)}{rate}{left}  {note}"
