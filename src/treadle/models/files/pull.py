"""Fetching model files: sources in turn, resume, disk space, verification, an atomic rename, one process at a time.

How a source delivers is in `sources.py`; what is pinned is in the catalogue.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import ModelFileCorrupt, ModelUnavailable, Unreachable, UsageError
from treadle.models.files import verify
from treadle.models.files.catalog import CatalogModel, ModelFile, catalog, is_own_file, locate, lookup
from treadle.models.files.sources import Partial, Source, SourceFailed, UrlSource, WheelSource
from treadle.models.hosts.locks import FileLock
from treadle.settings import ModelSettings

OnProgress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, what is going on). Bytes done may fall when a source begins anew."""

_MARGIN_BYTES = 16 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Installed:
    """A model of the catalogue, and how much of it is here."""

    model: CatalogModel
    path: Path
    is_present: bool
    partial_bytes: int
    """Bytes of an interrupted pull that the next one goes on from."""


async def pull(name: str, settings: ModelSettings, *, on_progress: OnProgress | None = None) -> ModelFile:
    """Bring a model of the catalogue to this machine and verify it.

    Idempotent: a model that is here and whole costs nothing. May be cancelled or killed at any moment, and then the
    next pull goes on from there, whichever source it uses. Of two processes one fetches and the other waits for it.

    Raises:
        UnknownName: The catalogue has no such model.
        ModelUnavailable: No source delivered. What was fetched is kept.
        ModelFileCorrupt: Every source delivered something else than the catalogue pins. Nothing is kept.
        Unreachable: The disk is full, or the models folder cannot be written. What was fetched is kept.
    """
    if is_own_file(name):
        return locate(name, settings)
    return await pull_entry(lookup(name), settings, on_progress=on_progress)


async def pull_entry(
    entry: CatalogModel, settings: ModelSettings, *, on_progress: OnProgress | None = None
) -> ModelFile:
    """Do as `pull` for an entry that need not be in the shipped catalogue."""
    report = on_progress or (lambda done, total, note: None)
    model = ModelFile(entry.name, settings.cache_dir / entry.file, entry)
    with _disk_errors(entry, settings.cache_dir):
        if await _is_whole(model, report):
            return model
        folder = settings.cache_dir / ".partial" / entry.file
        async with _sole(entry, folder, report):
            # The one we may have waited for has done our work.
            if await _is_whole(model, report):
                return model
            await _fetch(model, entry, folder, report)
    return model


def installed(settings: ModelSettings) -> list[Installed]:
    """List the models of the catalogue with what is here of them. Looks at sizes, does not hash."""
    found = []
    for entry in catalog():
        path = settings.cache_dir / entry.file
        partial = settings.cache_dir / ".partial" / entry.file / "data"
        size = partial.stat().st_size if partial.is_file() else 0
        found.append(Installed(entry, path, path.is_file() and path.stat().st_size == entry.bytes, size))
    return found


def remove(name: str, settings: ModelSettings) -> int:
    """Remove a model's file and what an interrupted pull left. Idempotent. Returns the bytes that became free.

    A host that has the file loaded keeps it until it is unloaded.

    Raises:
        UnknownName: The catalogue has no such model.
        UsageError: The name is a path. A user's own file is never removed.
    """
    if is_own_file(name):
        raise UsageError(f"{name!r} is your own file; it was not removed.", hint="Remove it yourself if you mean it.")
    entry = lookup(name)
    path = settings.cache_dir / entry.file
    folder = settings.cache_dir / ".partial" / entry.file
    leftovers = [item for item in folder.rglob("*") if item.is_file()] if folder.is_dir() else []
    freed = 0
    for item in (path, verify.note_path(path), *leftovers):
        if item.is_file():
            freed += item.stat().st_size
            item.unlink()
    return freed


def sources_of(entry: CatalogModel) -> list[Source]:
    """List the sources of an entry in the order in which they are tried."""
    wheels: list[Source] = [WheelSource(entry)] if entry.wheels else []
    return [*(UrlSource(url, entry.bytes) for url in entry.urls), *wheels]


async def _is_whole(model: ModelFile, report: OnProgress) -> bool:
    assert model.entry is not None
    if not model.is_present:
        return False
    report(model.entry.bytes, model.entry.bytes, "verifying")
    try:
        await verify.check(model)
    except ModelFileCorrupt:
        # A pull is asked for: a broken file is what it is there to replace.
        return False
    return True


@asynccontextmanager
async def _sole(entry: CatalogModel, folder: Path, report: OnProgress) -> AsyncIterator[None]:
    """Be the only process that fetches this model, waiting for another one first."""
    data = folder / "data"

    def on_wait() -> None:
        try:
            done = data.stat().st_size
        except OSError:
            done = 0
        report(done, entry.bytes, "another process is fetching it; waiting")

    with FileLock(folder.with_name(folder.name + ".lock")) as lock:
        await lock.take(on_wait=on_wait)
        yield


async def _fetch(model: ModelFile, entry: CatalogModel, folder: Path, report: OnProgress) -> None:
    partial = Partial(folder)
    await partial.open(entry.bytes)
    try:
        await _try_sources(entry, partial, report)
        os.fsync(partial.flush().fileno())
    finally:
        partial.close()
    partial.path.replace(model.path)
    _sync_folder(model.path.parent)
    verify.remember(model.path, entry.sha256)
    shutil.rmtree(folder, ignore_errors=True)


async def _try_sources(entry: CatalogModel, partial: Partial, report: OnProgress) -> None:
    """Complete the partial file from the first source that can, and verify it."""
    failures: list[str] = []
    wrong = False
    for source in sources_of(entry):
        # Once more from the start if it was an older beginning that spoilt the whole.
        for begun in (partial.size, 0):
            try:
                await _complete(entry, source, partial, report)
            except SourceFailed as exc:
                failures.append(f"{source.label}: {exc}")
                break
            if partial.sha256 == entry.sha256:
                return
            partial.restart()
            if not begun:
                wrong = True
                failures.append(f"{source.label}: sent a file with another SHA-256")
                break
    raise _failed(entry, failures, wrong and partial.size == 0)


async def _complete(entry: CatalogModel, source: Source, partial: Partial, report: OnProgress) -> None:
    _require_space(entry, source, partial)
    note = f"fetching from {source.label}"
    report(partial.size, entry.bytes, note)
    if partial.size < entry.bytes:
        await source.complete(partial, lambda done: report(done, entry.bytes, note))
    report(entry.bytes, entry.bytes, "verified" if partial.sha256 == entry.sha256 else "not what was expected")


def _require_space(entry: CatalogModel, source: Source, partial: Partial) -> None:
    needed = entry.bytes - partial.size + source.scratch_bytes + _MARGIN_BYTES
    free = shutil.disk_usage(partial.folder).free
    if free < needed:
        raise Unreachable(
            f"Model {entry.name!r} needs {needed:,} more bytes in {partial.folder.parent.parent}, "
            f"and {free:,} are free; it was not fetched.",
            hint="Free some space, or put the models elsewhere with TREADLE_MODELS_DIR.",
        )


def _failed(entry: CatalogModel, failures: Sequence[str], wrong: bool) -> Exception:
    listed = "; ".join(failures) or "it has no source"
    if wrong:
        return ModelFileCorrupt(
            f"Model {entry.name!r} could not be fetched as pinned, and nothing was kept. {listed}.",
            hint="Something between here and the source changes the file; try another network, or tell us.",
        )
    return ModelUnavailable(
        f"Model {entry.name!r} could not be fetched. {listed}.",
        hint="Check the network and the proxy, then pull again: it goes on from where it stopped. "
        "Or give the path of a GGUF file of your own as the model.",
    )


@contextmanager
def _disk_errors(entry: CatalogModel, folder: Path) -> Iterator[None]:
    """Turn an error of the disk into one of ours; what is on the disk stays."""
    try:
        yield
    except OSError as exc:
        kept = f"model {entry.name!r} was not fetched; what has arrived is kept."
        if exc.errno in _FULL:
            raise Unreachable(
                f"The disk of {folder} is full; {kept}",
                hint="Free some space and pull again, or put the models elsewhere with TREADLE_MODELS_DIR.",
            ) from exc
        raise Unreachable(
            f"The models folder {folder} cannot be used ({exc.strerror or exc}); {kept}",
            hint="Make it writable, or name another with TREADLE_MODELS_DIR.",
        ) from exc


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
