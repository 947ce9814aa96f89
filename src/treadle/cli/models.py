"""`treadle models`: list, pull, rm, ps, load, unload."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON

if TYPE_CHECKING:
    from treadle.services.model_servers import LoadedView, ModelServers
    from treadle.services.models import Models

_LOADED = ("MODEL", "SERVER", "MEMORY", "GPU", "CONTEXT", "ANSWERING", "IDLE")
_BAR = 20
_LINES_EVERY_SECONDS = 5.0


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="Models on this machine: list, pull, rm, ps, load, unload.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("pull")(pull)
    group.command("rm")(remove)
    group.command("ps")(loaded)
    group.command("load")(load)
    group.command("unload")(unload)
    app.add_typer(group, name="models")


def _models() -> Models:
    from treadle.services.models import Models

    return Models(session.settings_of())


def _servers() -> ModelServers:
    from treadle.services.model_servers import ModelServers

    return ModelServers(session.settings_of())


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
    """Fetch a model and verify it; ollama/NAME has Ollama fetch it.

    Goes on from where an earlier pull stopped.
    """

    async def work() -> None:
        bar = ProgressBar()
        try:
            model = await _models().pull(name, bar.show)
        finally:
            bar.close()
        if json:
            output.data_json(model)
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
    """List the models that are in memory, on every server of this machine."""

    async def work() -> None:
        found, silent = await _servers().loaded()
        for one in silent:
            output.note(f"{one.server} did not say what it has loaded: {one.why}")
        if json:
            for model in found:
                output.data_json(model)
            return
        if not found:
            output.note("No model is loaded.")
            return
        output.table(_LOADED, [_loaded_row(model) for model in found], right=_LOADED[2:])

    session.run(work)


def load(name: str = typer.Argument(..., metavar="NAME"), json: bool = JSON) -> None:
    """Bring a model into memory.

    A name of `treadle models list`, or SERVER/NAME such as ollama/llama3. Evicts nothing: without room it is an error.
    """

    async def work() -> None:
        model = await _servers().load(name, _once())
        if json:
            output.data_json(model)
        else:
            output.data(f"{model.model} is loaded ({model.server}, {output.size(model.memory_bytes)})")

    session.run(work)


def unload(name: str | None = typer.Argument(None, metavar="[NAME]"), json: bool = JSON) -> None:
    """Free the memory that a model holds, by default all embedded ones.

    An embedded model goes once it has answered what it is asked.
    """

    async def work() -> None:
        names = await _servers().unload(name, _once())
        if json:
            output.data_json({"unloaded": list(names)})
        else:
            output.data(f"unloaded {', '.join(names)}" if names else "nothing was loaded")

    session.run(work)


def _loaded_row(model: LoadedView) -> tuple[str, ...]:
    return (
        model.model,
        model.server,
        output.size(model.memory_bytes),
        f"{model.gpu_share:.0%}",
        _or_dash(model.context),
        _or_dash(model.in_flight),
        output.duration(model.idle_seconds) if model.idle_seconds is not None else "-",
    )


def _or_dash(figure: int | None) -> str:
    return "-" if figure is None else str(figure)


def _once() -> Callable[[str], None]:
    """Show notes, each only once."""
    said: set[str] = set()

    def note(text: str) -> None:
        if text not in said:
            said.add(text)
            output.note(text)

    return note


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
