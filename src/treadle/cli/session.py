"""One command's life: settings read, the store connected, a stop by Ctrl-C or SIGTERM turned into a clean end."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from treadle.app import Application
    from treadle.engine.registry import NodeRegistry
    from treadle.engine.results import Where
    from treadle.services.builds import BuildPlan
    from treadle.settings import Settings

INTERRUPTED = 130
DEFAULT = ("default",)
Work = Callable[[], Awaitable[int | None]]


class Terminated(BaseException):
    """SIGTERM: the same as Ctrl-C, from outside."""


def run(work: Work) -> None:
    """Run a command's coroutine and end with its exit code.

    The first Ctrl-C, and SIGTERM, cancel it, so that it can give back what it holds; the second ends it at once.
    """
    import asyncio

    import typer

    code = asyncio.run(_guarded(work))
    if code:
        raise typer.Exit(code)


async def _guarded(work: Work) -> int:
    import asyncio
    import signal

    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def stop() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, ValueError):  # not in the main thread: tests
        loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        return await work() or 0
    except asyncio.CancelledError:
        if terminated:
            return INTERRUPTED
        raise


class Stops:
    """Counts Ctrl-C and SIGTERM: the first asks to come to an end, the second to end at once."""

    def __init__(self) -> None:
        import asyncio
        import signal

        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


def leave(code: int) -> NoReturn:
    """End this process now, also if a thread still runs a sync node, which cannot be stopped."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def settings_of(**flags: object) -> Settings:
    """Read the settings for the folder we are in, with flags on top."""
    from treadle.settings import load_settings

    return load_settings(Path.cwd(), flags)


def script_in(provider: str | None) -> tuple[str | None, Path | None]:
    """Part `--provider scripted:FILE`, a rehearsal without a model, from the name of a real provider."""
    name, colon, file = (provider or "").partition(":")
    return (None, Path(file)) if name == "scripted" and colon else (provider, None)


def sandbox_name(sandbox: str | None) -> str | None:
    """What `--sandbox` names, by whichever name."""
    return {"bwrap": "bubblewrap", "podman": "docker", "local": "none"}.get(sandbox or "", sandbox)


@asynccontextmanager
async def looking(store: str | None = None, *, settings: Settings | None = None) -> AsyncIterator[Application]:
    """Connect to look, or to change something from outside; runs nothing, and creates no store."""
    from treadle import app

    async with app.connect(settings or settings_of(store=store), serving=False) as application:
        yield application


@asynccontextmanager
async def working(
    settings: Settings,
    *,
    registry: NodeRegistry | None = None,
    capacity: int = 16,
    processes: int = 0,
    queues: tuple[str, ...] = DEFAULT,
    where: Where = "here",
    lease_seconds: float = 10.0,
) -> AsyncIterator[Application]:
    """Connect to run things; the store is made if there is none. With capacity 0 nothing is run here."""
    from treadle import app
    from treadle.engine.results import WorkerSettings

    worker = WorkerSettings(
        capacity=capacity, processes=processes, queues=queues, where=where, lease_seconds=lease_seconds
    )
    async with app.connect(settings, registry=registry, worker=worker if capacity else None) as application:
        yield application


@asynccontextmanager
async def building(
    settings: Settings, plan: BuildPlan, run_id: str, *, capacity: int = 4
) -> AsyncIterator[Application]:
    """Connect to run the tasks of one build, those that other machines may run too unless they are left to them."""
    where: Where = "known" if plan.queue else "here"
    async with working(settings, capacity=capacity, queues=plan.queues(run_id), where=where) as application:
        application.crews.script = plan.script
        yield application


def refuse_detached_memory(settings: Settings, detach: bool) -> None:
    """Raise UsageError if a run is to go on without us that only we could remember."""
    from treadle.errors import UsageError

    if detach and settings.store.url.startswith("memory"):
        raise UsageError(
            "--detach needs a store that outlives this process; nothing was started.",
            hint="Use --store sqlite:///PATH.",
        )


def go_on_in_background(settings: Settings, run_id: str) -> None:
    """Start a process of its own that goes on with a run, and say so."""
    from treadle import app
    from treadle.cli import output

    app.go_on_in_background(settings, run_id)
    output.note(f"Run {run_id} goes on in the background. Watch it: treadle logs -f {run_id}")
