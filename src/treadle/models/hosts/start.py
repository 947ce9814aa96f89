"""Starting and ending the process that hosts a model. Who may do so, and when, is decided in `host.py`."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError, ModelFileCorrupt, ModelUnavailable
from treadle.models.hosts.locks import FileLock, is_held
from treadle.models.hosts.place import Host, HostSpec, Place
from treadle.settings import child_environment

OnNote = Callable[[str], None]
"""Called with what is being waited for, in words; often with the same words."""

_STOP_SECONDS = 5.0
_LOST_SECONDS = 5.0
"""A host writes its address file before anything else; one without it for so long has lost it."""
_POLL_SECONDS = 0.02
_LOG_LINES = 2
_LOOKED_AT = 50


async def settled(place: Place, load_seconds: float, note: OnNote) -> Host | None:
    """Return the live host, waiting for one that another process began to start. The gate or the door is ours.

    One that does not finish loading, or that cannot be found because its address file is gone, is ended.
    """
    began = time.monotonic()
    while is_held(place.life):
        host = place.read()
        if host is not None and host.base_url:
            return host
        if time.monotonic() - began > (_LOST_SECONDS if host is None else load_seconds):
            await end(place, place.holder())
            return None
        note("a model is loading; waiting")
        await asyncio.sleep(_POLL_SECONDS)
    return None


async def start(place: Place, spec: HostSpec, load_seconds: float) -> Host:
    """Start a child and wait for its report. If we are cancelled it goes on loading, and the next caller finds it."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError(
            "The embedded model needs the package xllamacpp, which is not installed; nothing was started.",
            hint='Run: pip install "treadle[local]"',
        )
    place.clear()
    reader, writer = os.pipe()
    try:
        if not await _whole(asyncio.to_thread(_spawn, place, spec, writer)):
            # A start of ours that was cancelled half-way got there first.
            host = await settled(place, load_seconds, lambda note: None)
            if host is not None and host.serves(spec):
                return host
            raise ModelUnavailable("Another model host was started meanwhile; nothing was asked.", hint="Try again.")
        said = await _read_report(reader, load_seconds)
    finally:
        os.close(reader)
    host = place.read()
    if said.get("ok") and host is not None:
        return host
    if "late" in said:
        await end(place, place.holder())
    await _gone(place)  # only then its log is whole
    raise _not_loaded(place, spec, said.get("late") or said.get("error"))


async def _whole(work: Coroutine[Any, Any, bool]) -> bool:
    """Await something to its end even if we are cancelled: nobody may reckon without a child that is about to be."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(task)
        raise


def _spawn(place: Place, spec: HostSpec, report_fd: int) -> bool:
    """Start the child with the life lock already in its hands, so that there is no moment in which two could start.

    Returns False, and starts nothing, if another host is alive. Closes `report_fd`.
    """
    # Where this very package lies, also when it is not installed; the child's folder is neutral.
    package_root = str(Path(__file__).parents[2])
    inherited = child_environment()
    search = os.pathsep.join(filter(None, (package_root, inherited.get("PYTHONPATH"))))
    place.folder.mkdir(mode=0o700, exist_ok=True)
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with FileLock(place.life) as life:
            # Who only looks whether somebody lives holds the lock for an instant, too.
            for _ in range(_LOOKED_AT):
                if life.try_take():
                    break
                time.sleep(_POLL_SECONDS / 10)
            if life.fileno is None:
                return False
            os.ftruncate(life.fileno, 0)
            subprocess.run(
                [sys.executable, "-m", "treadle.models.hosts.child", str(report_fd), str(life.fileno)],
                input=json.dumps(asdict(spec)).encode(),
                stdout=log,
                stderr=log,
                pass_fds=(report_fd, life.fileno),
                start_new_session=True,
                cwd="/",
                env={**inherited, "PYTHONPATH": search},
                check=False,
            )
            return True
    finally:
        os.close(log)
        os.close(report_fd)


async def _read_report(fd: int, seconds: float) -> dict[str, object]:
    """Read the child's line; empty if it died without one."""
    os.set_blocking(fd, False)
    said = b""
    try:
        async with asyncio.timeout(seconds):
            while not said.endswith(b"\n"):
                await _readable(fd)
                chunk = os.read(fd, 65536)
                if not chunk:
                    return {}
                said += chunk
    except TimeoutError:
        return {"late": f"it did not load within {seconds:g} s"}
    return dict(json.loads(said))


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def end(place: Place, pid: int | None) -> None:
    """End the live host and wait until its memory is free. Nobody uses it any more, or may come to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            if pid is not None:
                os.kill(pid, number)
        except ProcessLookupError:
            pass
        if await _gone(place):
            place.clear()
            return
    raise ModelUnavailable(f"The model host (process {pid}) does not end; nothing was loaded.")


async def _gone(place: Place) -> bool:
    """Wait a while for the host to end; tells whether it has."""
    deadline = time.monotonic() + _STOP_SECONDS
    while is_held(place.life):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def _not_loaded(place: Place, spec: HostSpec, error: object) -> Exception:
    """Say why a model was not loaded, in llama.cpp's own words; the first errors name the cause, others repeat it."""
    lines = place.log.read_text(errors="replace").splitlines() if place.log.is_file() else []
    told = [line.split(" E ", 1)[1].strip() for line in lines if " E " in line]
    # A traceback of our own ends in the line that says it.
    told = list(dict.fromkeys(told))[:_LOG_LINES] or [str(error or (lines[-1] if lines else "the host died silently"))]
    place_of_it = "" if spec.model == spec.path else f" from {spec.path}"
    message = f"Model {spec.model!r} could not be loaded{place_of_it}: {'; '.join(told)}."
    if any("gguf_init" in line or "error loading model" in line for line in told) and "alloc" not in message:
        return ModelFileCorrupt(message, hint=f"The file is damaged or of an unknown kind. See {place.log}.")
    return ModelUnavailable(message, hint=f"See {place.log}; a smaller model or a smaller context may fit.")
