"""The embedded model host: one llama.cpp child process per user, shared by every Treadle process of that user.

Started on demand, swapped when another model is wanted, gone when idle. The child itself is `host_child.py`, the files
they meet at are in `place.py`; what is said over HTTP is `openai_chat.py`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx2

from treadle.errors import ConfigError, ModelFileCorrupt, ModelUnavailable
from treadle.models import verify
from treadle.models.catalog import ModelFile, is_own_file, lookup
from treadle.models.locks import FileLock, is_held, last_use
from treadle.models.place import Host, HostSpec, Place
from treadle.settings import ModelSettings, child_environment

OnNote = Callable[[str], None]
"""Called with what is being waited for, in words; often with the same words."""

_RESIDENT_SECONDS = 10.0
"""A model that is in use stays at least this long, or two callers would spend their time on swapping."""
_QUIET_SECONDS = 0.5
_STOP_SECONDS = 5.0
_LOST_SECONDS = 5.0
"""A host writes its address file before anything else; one without it for so long has lost it."""
_POLL_SECONDS = 0.02
_LOG_LINES = 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a loaded model answers."""

    base_url: str
    """Of the OpenAI-style API: ends in `/v1`."""
    api_key: str = field(repr=False)
    model: str
    pid: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is in memory, or on its way there."""

    model: str
    path: str
    pid: int
    address: str
    """Empty while it loads."""
    rss_bytes: int
    context: int
    parallel: int
    threads: int
    in_flight: int
    """Requests being answered or waiting for a slot."""
    idle_seconds: float
    loaded_seconds: float


async def ensure(model: ModelFile, settings: ModelSettings, *, on_note: OnNote | None = None) -> Endpoint:
    """Have the model loaded, starting or swapping the host if need be. Idempotent.

    The endpoint may be swapped away as soon as this returns: for a request take `use`.

    Raises:
        Those of `use`.
    """
    async with use(model, settings, on_note=on_note) as endpoint:
        return endpoint


@asynccontextmanager
async def use(model: ModelFile, settings: ModelSettings, *, on_note: OnNote | None = None) -> AsyncIterator[Endpoint]:
    """Have the model loaded, and keep it loaded inside the `async with`.

    Any number of users of the same model run side by side. Another model waits until those in flight are done, and
    those who come later wait for it. Starting is race-free between processes. May be cancelled at any moment.

    Raises:
        ModelUnavailable: The file is missing, or the host could not be started.
        ModelFileCorrupt: The file is not what was pinned, or llama.cpp cannot read it.
        ConfigError: The `local` extra is not installed, or the runtime folder cannot be used.
    """
    await verify.check(model)
    place = Place(settings.runtime_dir)
    place.prepare()
    spec = _spec(model, settings, place)
    with FileLock(place.use) as lock:
        host = await _enter(place, lock, spec, settings.load_seconds, on_note or (lambda note: None))
        lock.touch()
        try:
            yield Endpoint(f"{host.base_url}/v1", host.api_key, host.model, host.pid)
        finally:
            lock.touch()


async def has_died(endpoint: Endpoint, settings: ModelSettings) -> bool:
    """Tell whether the host behind an endpoint is gone. Waits a moment, because a death is not one instant."""
    place = Place(settings.runtime_dir)
    deadline = time.monotonic() + _QUIET_SECONDS
    while is_held(place.life):
        host = place.read()
        if host is not None and host.pid != endpoint.pid:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def ps(settings: ModelSettings) -> list[Loaded]:
    """List what is loaded. Starts nothing and waits for nobody; a dead host's files do not count."""
    place = Place(settings.runtime_dir)
    host = place.read()
    if host is None or not is_held(place.life):
        return []
    now = time.time()
    in_flight = await _in_flight(host)
    idle = 0.0 if in_flight else max(0.0, now - max(last_use(place.use), host.started))
    return [
        Loaded(
            model=host.model,
            path=host.path,
            pid=host.pid,
            address=host.base_url,
            rss_bytes=_rss_bytes(host.pid),
            context=host.context,
            parallel=host.parallel,
            threads=host.threads,
            in_flight=in_flight,
            idle_seconds=idle,
            loaded_seconds=max(0.0, now - host.started),
        )
    ]


async def unload(settings: ModelSettings, name: str | None = None, *, on_note: OnNote | None = None) -> list[str]:
    """End the host, or only if it has the named model, after its requests are done. Returns what was unloaded.

    Idempotent: nothing loaded is no error. The memory is free when this returns.

    Raises:
        UnknownName: The catalogue has no such model.
        ModelUnavailable: The host does not end.
    """
    place = Place(settings.runtime_dir)
    if not place.folder.is_dir():
        return []
    wanted = None if name is None else _shown_name(name)
    note = on_note or (lambda text: None)
    with FileLock(place.gate) as gate, FileLock(place.use) as lock:
        await gate.take(on_wait=lambda: note("another process is changing the model; waiting"))
        host = await _settled(place, settings.load_seconds, note)
        if host is None or wanted not in (None, host.model):
            return []
        await lock.take(on_wait=lambda: note(f"{host.model} is answering; waiting"))
        await _end(place, host.pid)
        return [host.model]


async def _enter(place: Place, lock: FileLock, spec: HostSpec, load_seconds: float, note: OnNote) -> Host:
    """Return a live host that serves `spec`, with the use lock held shared."""
    while True:
        with FileLock(place.gate) as gate:
            await gate.take(on_wait=lambda: note("another process is loading a model; waiting"))
            host = await _settled(place, load_seconds, note)
            if host is not None and not host.serves(spec) and not _may_swap(place, lock, host):
                note(f"{host.model} is in use; waiting")
            else:
                if host is None or not host.serves(spec):
                    host = await _swap(place, lock, host, spec, load_seconds, note)
                # Nobody else can want it exclusively now: they would have to hold the gate.
                await lock.take(shared=True)
                return host
        await asyncio.sleep(_POLL_SECONDS)


async def _settled(place: Place, load_seconds: float, note: OnNote) -> Host | None:
    """Return the live host, waiting for one that another process began to start. The gate is ours.

    One that does not finish loading, or that cannot be found because its address file is gone, is ended.
    """
    began = time.monotonic()
    while is_held(place.life):
        host = place.read()
        if host is not None and host.base_url:
            return host
        if time.monotonic() - began > (_LOST_SECONDS if host is None else load_seconds):
            await _end(place, place.holder())
            return None
        note("a model is loading; waiting")
        await asyncio.sleep(_POLL_SECONDS)
    return None


def _may_swap(place: Place, lock: FileLock, host: Host) -> bool:
    """Tell whether a model has had its time: it is not in use, or has been here for a while."""
    now = time.time()
    if now - host.started >= _RESIDENT_SECONDS:
        return True
    quiet = now - last_use(place.use) >= _QUIET_SECONDS and lock.try_take()
    lock.release()
    return quiet


async def _swap(
    place: Place, lock: FileLock, host: Host | None, spec: HostSpec, load_seconds: float, note: OnNote
) -> Host:
    if host is not None:
        await lock.take(on_wait=lambda: note(f"{host.model} is answering; waiting"))
        note(f"unloading {host.model}")
        await _end(place, host.pid)
    note(f"loading {spec.model}")
    return await _start(place, spec, load_seconds)


async def _start(place: Place, spec: HostSpec, load_seconds: float) -> Host:
    """Start a child and wait for its report. If we are cancelled it goes on loading, and the next caller finds it."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ConfigError(
            "The embedded model needs the package xllamacpp, which is not installed; nothing was started.",
            hint='Run: pip install "treadle[local]"',
        )
    place.clear()
    reader, writer = os.pipe()
    try:
        if not await asyncio.to_thread(_spawn, place, spec, writer):
            # A start of ours that was cancelled half-way got there first.
            host = await _settled(place, load_seconds, lambda note: None)
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
        await _end(place, place.holder())
    await _gone(place)  # only then its log is whole
    raise _not_loaded(place, spec, said.get("late") or said.get("error"))


def _spawn(place: Place, spec: HostSpec, report_fd: int) -> bool:
    """Start the child with the life lock already in its hands, so that there is no moment in which two could start.

    Returns False, and starts nothing, if another host is alive. Closes `report_fd`.
    """
    # Where this very package lies, also when it is not installed; the child's folder is neutral.
    package_root = str(Path(__file__).parents[2])
    inherited = child_environment()
    search = os.pathsep.join(filter(None, (package_root, inherited.get("PYTHONPATH"))))
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with FileLock(place.life) as life:
            if not life.try_take() or life.fileno is None:
                return False
            os.ftruncate(life.fileno, 0)
            subprocess.run(
                [sys.executable, "-m", "treadle.models.host_child", str(report_fd), str(life.fileno)],
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


async def _end(place: Place, pid: int | None) -> None:
    """End the live host and wait until its memory is free. The gate is ours."""
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


def _spec(model: ModelFile, settings: ModelSettings, place: Place) -> HostSpec:
    path = model.path.resolve()
    found = path.stat()
    return HostSpec(
        folder=str(place.folder.absolute()),
        model=model.name,
        path=str(path),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        context=settings.context,
        parallel=settings.parallel,
        threads=settings.threads,
        idle_seconds=settings.idle_seconds,
        api_key=secrets.token_urlsafe(32),
    )


def _shown_name(name: str) -> str:
    return str(Path(name).expanduser().absolute()) if is_own_file(name) else lookup(name).name


async def _in_flight(host: Host) -> int:
    """Ask the host how much it has to do; a host that is too busy to say counts as one."""
    if not host.base_url:
        return 0
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=2.0) as client:
            answer = await client.get(f"{host.base_url}/metrics", headers={"Authorization": f"Bearer {host.api_key}"})
    except httpx2.TimeoutException:
        return 1
    except httpx2.HTTPError:
        return 0
    wanted = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")
    return sum(int(float(line.split()[-1])) for line in answer.text.splitlines() if line.startswith(wanted))


def _rss_bytes(pid: int) -> int:
    """Return the memory of a process, 0 if it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        pass
    try:
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(said.stdout) * 1024
    except (OSError, ValueError):
        return 0
