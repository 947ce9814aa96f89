"""Watching a run that moves: the three ways to show it, and how a command ends with it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from treadle.cli import output

if TYPE_CHECKING:
    from treadle.app import Application
    from treadle.domain.events import Event
    from treadle.engine.results import Result


class View(Protocol):
    """Where a run is shown while it moves."""

    def past(self, events: Iterable[Event]) -> None:
        """Take in what happened before we looked."""

    def event(self, event: Event) -> None: ...
    def emitted(self, kind: str, value: Any) -> None: ...

    def note(self, text: str) -> None:
        """Say what is being waited for."""

    def close(self) -> None: ...


class JsonView:
    """Each event as one line of JSON on stdout."""

    def past(self, events: Iterable[Event]) -> None:
        """What happened before is in `treadle events`."""

    def event(self, event: Event) -> None:
        output.data_json(event)

    def emitted(self, kind: str, value: Any) -> None:
        """Pieces of answers are no events."""

    def note(self, text: str) -> None:
        """What is waited for is no event."""

    def close(self) -> None: ...


class SilentView:
    """Shows nothing: for what is over at once."""

    def past(self, events: Iterable[Event]) -> None: ...
    def event(self, event: Event) -> None: ...
    def emitted(self, kind: str, value: Any) -> None: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


class PlainView:
    """Each thing that happens as one line on stderr."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        from treadle.services.runs import Narrator

        self._narrator = Narrator()
        self._midline = False
        self._waits_for = ""

    def past(self, events: Iterable[Event]) -> None:
        """What happened before is in `treadle logs`; it only tells the names of tasks."""
        for event in events:
            self._narrator.past(event)

    def event(self, event: Event) -> None:
        line = self._narrator.line(event)
        if line is None:
            return
        if self._midline:
            output.note()
            self._midline = False
        task = f"{line.task}: " if line.task else ""
        output.note(f"{output.clock(line.at)}  {task}{output.clip(line.text, 200)}")

    def emitted(self, kind: str, value: Any) -> None:
        """With --verbose, answers are shown as they are written."""
        if self._verbose and kind == "tokens":
            output.piece(str(value))
            self._midline = True

    def note(self, text: str) -> None:
        """Say once what is being waited for."""
        if text != self._waits_for:
            self._waits_for = text
            output.note(f"{output.clock(time.time())}  {text}")

    def close(self) -> None:
        if self._midline:
            output.note()


def view_for(*, json: bool, verbose: bool, title: str, started: bool = True) -> View:
    """The view that suits where our output goes: JSON, a live tree on a terminal, or plain lines."""
    if json:
        return JsonView()
    if sys.stderr.isatty() and not verbose and started:
        from treadle.cli.live import LiveView

        return LiveView(title)
    return PlainView(verbose=verbose)


async def to_rest(application: Application, run_id: str, view: View, *, after: int = 0) -> Result:
    """Show a run from event number `after` on until it comes to rest; returns the state it is in then.

    When the command is stopped, what runs here is given back first, and the user is told how to go on.

    Raises:
        RunFailed: It ended in an error.
    """
    import asyncio

    orchestrator = application.orchestrator
    try:
        if after:
            view.past(await orchestrator.store.events(run_id, until=after))
        async for kind, value in orchestrator.follow(run_id, modes=("events", "tokens", "custom"), after=after):
            if kind == "events":
                view.event(value)
            else:
                view.emitted(kind, value)
        view.close()
        return await orchestrator.wait(run_id)
    except asyncio.CancelledError:
        view.close()
        output.note("\nStopping: giving back what runs here ...")
        await orchestrator.worker.stop()
        await _say_how_to_go_on(application, run_id)
        raise
    finally:
        view.close()


async def _say_how_to_go_on(application: Application, run_id: str) -> None:
    report = await application.runs.report(await application.runs.find(run_id))
    if report.summary.status.ended:
        output.note(f"Run {run_id} is {report.summary.status.value}.")
        return
    others = [owner for owner in report.owners if not _is_us(owner)]
    if others:
        output.note(f"Run {run_id} goes on in {', '.join(others)}. Watch it: treadle logs -f {run_id}")
    else:
        output.note(f"Stopped; nothing that was recorded is lost. Go on with: treadle resume {run_id}")


def _is_us(worker: str) -> bool:
    import socket

    return worker.startswith(f"{socket.gethostname()}-{os.getpid()}-")
