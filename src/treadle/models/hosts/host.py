"""The embedded model hosts: a llama.cpp child process for each model, shared by every Treadle process of the user.

Started on demand within a memory budget, ended to make room or when idle. How one is started and ended is in
`start.py`, the child itself in `child.py`, the files they meet at in `place.py`; what is said over HTTP is
`openai_chat.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from treadle.errors import ModelTooLarge, ModelUnavailable
from treadle.models.files import gguf, verify
from treadle.models.files.catalog import ModelFile, is_known, is_own_file, lookup
from treadle.models.hosts.budget import GB, Budget, budget
from treadle.models.hosts.locks import FileLock, is_held, last_use
from treadle.models.hosts.place import Host, HostSpec, Place, Runtime
from treadle.models.hosts.process_memory import rss_bytes
from treadle.models.hosts.start import OnNote, end, settled, start
from treadle.settings import ModelSettings

_RESIDENT_SECONDS = 10.0
"""A model that is in use stays at least this long, or two callers would spend their time on swapping."""
_QUIET_SECONDS = 0.5
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a loaded model answers."""

    base_url: str
    """Of the OpenAI-style API: ends in `/v1`."""
    api_key: str = field(repr=False)
    model: str
    pid: int
    place: Path
    """The folder of its host."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is in memory, or on its way there."""

    model: str
    path: str
    pid: int
    address: str
    """Empty while it loads."""
    memory_bytes: int
    """What it is reckoned to take at most; of this the budget is made."""
    rss_bytes: int
    device: str
    """`ram`, or `gpu`."""
    context: int
    parallel: int
    threads: int
    in_flight: int
    """Requests being answered or waiting for a slot."""
    idle_seconds: float
    loaded_seconds: float


async def ensure(model: ModelFile, settings: ModelSettings, *, on_note: OnNote | None = None) -> Endpoint:
    """Have the model loaded, making room for it if need be. Idempotent.

    It may have to go as soon as this returns: for a request take `use`.

    Raises:
        Those of `use`.
    """
    async with use(model, settings, on_note=on_note) as endpoint:
        return endpoint


@asynccontextmanager
async def use(
    model: ModelFile, settings: ModelSettings, *, on_note: OnNote | None = None, may_evict: bool = True
) -> AsyncIterator[Endpoint]:
    """Have the model loaded, and keep it loaded inside the `async with`.

    Any number of users of the same model run side by side. If it does not fit beside those that are loaded, idle ones
    go, the least recently used first, and users of others are waited for. Race-free between processes, and the budget
    holds for all of them together. May be cancelled at any moment.

    Args:
        may_evict: Whether other models may have to go; otherwise it is an error if there is no room now.

    Raises:
        ModelTooLarge: It does not fit into the budget even alone.
        ModelUnavailable: The file is missing, or the host could not be started, or it may not make the room it needs.
        ModelFileCorrupt: The file is not what was pinned, or llama.cpp cannot read it.
        ConfigError: The `local` extra is not installed, or the runtime folder cannot be used.
    """
    await verify.check(model)
    runtime = Runtime(settings.runtime_dir)
    runtime.prepare()
    allowed = await asyncio.to_thread(budget, settings)
    place = runtime.place(model.path)
    spec = await asyncio.to_thread(_spec, model, settings, place, allowed)
    _require_possible(spec, allowed)
    entry = _Entry(runtime, place, spec, allowed, settings.load_seconds, on_note or (lambda note: None))
    with FileLock(place.use) as lock:
        host = await entry.enter(lock, may_evict)
        lock.touch()
        try:
            yield Endpoint(f"{host.base_url}/v1", host.api_key, host.model, host.pid, place.folder)
        finally:
            lock.touch()


async def has_died(endpoint: Endpoint) -> bool:
    """Tell whether the host behind an endpoint is gone. Waits a moment, because a death is not one instant."""
    place = Place(endpoint.place)
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
    found = [(place, place.read()) for place in Runtime(settings.runtime_dir).places()]
    return list(await asyncio.gather(*(_loaded(place, host) for place, host in found if host is not None)))


async def unload(settings: ModelSettings, name: str | None = None, *, on_note: OnNote | None = None) -> list[str]:
    """End the named model's host, or all, after their requests are done. Returns what was unloaded.

    Idempotent: nothing loaded is no error. The memory is free when this returns.

    Raises:
        UnknownName: The catalogue has no such model.
        ModelUnavailable: A host does not end.
    """
    wanted = None if name is None else shown_name(name)
    if name is not None:
        require_known(name)
    note = on_note or (lambda text: None)
    gone = []
    for place in Runtime(settings.runtime_dir).places():
        known = place.read()
        if known is not None and wanted not in (None, known.model):
            continue
        with FileLock(place.door) as door:
            await door.take(on_wait=lambda: note("another process is loading or unloading it; waiting"))
            host = await settled(place, settings.load_seconds, note)
            if host is not None and wanted in (None, host.model):
                await _end_after_use(place, host, note)
                gone.append(host.model)
    return gone


def shown_name(name: str) -> str:
    """The name under which a model is loaded; one that nobody knows stays as it is."""
    if is_own_file(name):
        return str(Path(name).expanduser().absolute())
    return lookup(name).name if is_known(name) else name


def require_known(name: str) -> None:
    """Raises UnknownName if neither the catalogue has it nor it is a path."""
    if not is_own_file(name):
        lookup(name)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The way of one user to a live host that serves `spec`."""

    runtime: Runtime
    place: Place
    spec: HostSpec
    allowed: Budget
    load_seconds: float
    note: OnNote

    async def enter(self, lock: FileLock, may_evict: bool) -> Host:
        """Return the host with the use lock held shared."""
        while True:
            # Who finds it loaded need not wait for those who load others.
            with FileLock(self.place.door) as door:
                await door.take(on_wait=lambda: self.note(f"{self.spec.model} is being loaded or unloaded; waiting"))
                host = self.place.live()
                if host is not None and host.serves(self.spec):
                    # Nobody can want it exclusively now: they would have to hold the door.
                    await lock.take(shared=True)
                    return host
            host = await self._load(lock, may_evict)
            if host is not None:
                return host
            await asyncio.sleep(_POLL_SECONDS)

    async def _load(self, lock: FileLock, may_evict: bool) -> Host | None:
        """Make room and start the host; None if those in use have to have their time first."""
        with FileLock(self.runtime.gate) as gate, FileLock(self.place.door) as door:
            await gate.take(on_wait=lambda: self.note("another process is loading a model; waiting"))
            await door.take(on_wait=lambda: self.note(f"{self.spec.model} is being unloaded; waiting"))
            host = await settled(self.place, self.load_seconds, self.note)
            if host is None or not host.serves(self.spec):
                victims = await self._victims(host, may_evict)
                if victims is None:
                    return None
                for place, victim in victims:
                    await self._evict(place, victim)
                self.note(f"loading {self.spec.model}")
                host = await start(self.place, self.spec, self.load_seconds)
            await lock.take(shared=True)
            return host

    async def _victims(self, own: Host | None, may_evict: bool) -> list[tuple[Place, Host]] | None:
        """Choose whom to end: idle ones, least recently used first, then those in use that had their time.

        None: not yet. `own` is a host of the same model that cannot serve, and has to go in any case.
        """
        others = await self._others()
        missing = sum(map(_taken_bytes, (host for _, host in others))) + self.spec.memory_bytes - self.allowed.bytes
        if missing > 0 and not may_evict:
            raise _no_room(self.spec, self.allowed, [host for _, host in others])
        ready = sorted((_rank(place, host), index) for index, (place, host) in enumerate(others))
        chosen = [] if own is None else [(self.place, own)]
        for (is_busy, _), index in ready:
            if missing <= 0:
                break
            place, host = others[index]
            if not is_busy or _had_its_time(host):
                chosen.append((place, host))
                missing -= _taken_bytes(host)
        if missing > 0 or (own is not None and _rank(self.place, own)[0] and not _had_its_time(own)):
            blocking = [host.model for place, host in ([(self.place, own)] if own else others) if host]
            self.note(f"{', '.join(blocking)} in use; waiting")
            return None
        return chosen

    async def _others(self) -> Sequence[tuple[Place, Host]]:
        places = [place for place in self.runtime.places() if place.folder != self.place.folder]
        found = [(place, await settled(place, self.load_seconds, self.note)) for place in places]
        return [(place, host) for place, host in found if host is not None]

    async def _evict(self, place: Place, host: Host) -> None:
        """End a host after its requests are done; those who come later wait at its door."""
        with FileLock(place.door) as door:
            if place.folder != self.place.folder:  # ours is held already
                await door.take(on_wait=lambda: self.note(f"{host.model} is being unloaded; waiting"))
            if (now := place.live()) is not None and now.pid == host.pid:
                await _end_after_use(place, host, self.note)


async def _end_after_use(place: Place, host: Host, note: OnNote) -> None:
    """End a host. Its door is ours."""
    with FileLock(place.use) as lock:
        await lock.take(on_wait=lambda: note(f"{host.model} is answering; waiting"))
        note(f"unloading {host.model}")
        await end(place, host.pid)


def _rank(place: Place, host: Host) -> tuple[bool, float]:
    """Whether a host is in use, or was a moment ago; and since when it is unused, or else since when it lives."""
    used = last_use(place.use)
    is_quiet = time.time() - used >= _QUIET_SECONDS
    if is_quiet:
        with FileLock(place.use) as lock:
            is_quiet = lock.try_take()
    return (False, used) if is_quiet else (True, host.started)


def _had_its_time(host: Host) -> bool:
    return time.time() - host.started >= _RESIDENT_SECONDS


def _taken_bytes(host: Host) -> int:
    """What a host takes of the budget: what was reckoned, or what is measured if that is more."""
    return host.memory_bytes if host.device == "gpu" else max(host.memory_bytes, rss_bytes(host.pid))


def _require_possible(spec: HostSpec, allowed: Budget) -> None:
    if spec.memory_bytes > allowed.bytes:
        raise ModelTooLarge(
            f"Model {spec.model!r} needs {spec.memory_bytes / GB:.2f} GB with {spec.parallel} x {spec.context} tokens "
            f"of context, and models may take {allowed.bytes / GB:.2f} GB here ({allowed.source}); it was not loaded.",
            hint="Raise TREADLE_MODEL_MEMORY_GB, lower TREADLE_MODEL_CONTEXT or TREADLE_MODEL_PARALLEL, "
            "or use a smaller model.",
        )


def _no_room(spec: HostSpec, allowed: Budget, loaded: Sequence[Host]) -> ModelUnavailable:
    names = ", ".join(f"{host.model} ({_taken_bytes(host) / GB:.2f} GB)" for host in loaded)
    return ModelUnavailable(
        f"Model {spec.model!r} needs {spec.memory_bytes / GB:.2f} GB of the {allowed.bytes / GB:.2f} GB for models, "
        f"and loaded are {names}; it was not loaded.",
        hint="Unload one with `treadle models unload NAME`, or raise TREADLE_MODEL_MEMORY_GB.",
    )


def _spec(model: ModelFile, settings: ModelSettings, place: Place, allowed: Budget) -> HostSpec:
    path = model.path.resolve()
    found = path.stat()
    takes = gguf.loaded(path, context=settings.context, parallel=settings.parallel)
    return HostSpec(
        folder=str(place.folder),
        model=model.name,
        path=str(path),
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        context=settings.context,
        parallel=settings.parallel,
        threads=settings.threads,
        idle_seconds=settings.idle_seconds,
        memory_bytes=takes.total,
        prompt_cache_bytes=gguf.prompt_cache_bytes(path, settings.context),
        device=allowed.device,
        api_key=secrets.token_urlsafe(32),
    )


async def _loaded(place: Place, host: Host) -> Loaded:
    now = time.time()
    in_flight = await _in_flight(host)
    return Loaded(
        model=host.model,
        path=host.path,
        pid=host.pid,
        address=host.base_url,
        memory_bytes=host.memory_bytes,
        rss_bytes=rss_bytes(host.pid),
        device=host.device,
        context=host.context,
        parallel=host.parallel,
        threads=host.threads,
        in_flight=in_flight,
        idle_seconds=0.0 if in_flight else max(0.0, now - max(last_use(place.use), host.started)),
        loaded_seconds=max(0.0, now - host.started),
    )


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
