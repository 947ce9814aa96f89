"""What this machine can do for Treadle, found out by trying, and what to do about what it cannot."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from treadle.errors import TreadleError
from treadle.models import choose
from treadle.models.files import gguf, pull
from treadle.models.files.catalog import DEFAULT_MODEL
from treadle.models.hosts import host, nvml
from treadle.models.hosts.budget import budget, devices
from treadle.models.inventory import shipped
from treadle.ports.sandbox import Guarantee
from treadle.sandboxes.choose import Availability, probe
from treadle.settings import Settings, without_password

_MIN_PYTHON = (3, 11)
_LOW_DISK_BYTES = 3_000_000_000
_NVIDIA = Path("/proc/driver/nvidia")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warn", "bad"]
    """`bad`: `treadle build` cannot work; `warn`: something is missing that it can do without."""
    what: str
    todo: str = ""


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything, one after the other. Changes nothing, fetches nothing."""
    yield _python()
    yield _git()
    for finding in _sandboxes(await probe(settings.sandbox.image), settings.sandbox.backend):
        yield finding
    for finding in await asyncio.to_thread(_cards):
        yield finding
    yield _embedded(settings)
    yield await _memory(settings)
    yield await _ollama(settings)
    yield await _answers(settings)
    yield _disk(settings)
    yield _project(settings)


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] < _MIN_PYTHON:
        return Finding("python", "bad", f"{version} is too old", "Use Python 3.11 or later.")
    if importlib.util.find_spec("pytest") is None:
        todo = "pip install pytest, into the environment that runs treadle."
        return Finding("python", "bad", f"{version}, but without pytest, which runs the tests of what is built", todo)
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _git() -> Finding:
    program = shutil.which("git")
    if program is None:
        return Finding("git", "bad", "not found", "Install it: apt install git.")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return Finding("git", "ok", said.strip())


def _sandboxes(found: list[Availability], configured: str) -> list[Finding]:
    walls = [item for item in found if item.name != "none"]
    works = [item.name for item in walls if item.ok]
    findings = []
    for item in walls:
        if item.ok:
            findings.append(Finding(f"sandbox {item.name}", "ok", _held(item)))
        else:
            todo = "pip install 'treadle[sandbox]', or apt install bubblewrap; see the reason."
            todo = f"Nothing, if {works[0]} will do; else mend the reason." if works else todo
            findings.append(Finding(f"sandbox {item.name}", "warn" if works else "bad", item.why, todo))
    if configured == "none":
        what = "switched off by the configuration: generated code runs as you"
        findings.append(Finding("sandbox", "warn", what, 'Remove backend = "none".'))
    return findings


def _held(item: Availability) -> str:
    """What a backend holds, and what it does not: the second is what nobody would think of."""
    held = ", ".join(sorted(guarantee.value.replace("_", " ") for guarantee in item.guarantees))
    missing = ", ".join(sorted(guarantee.value.replace("_", " ") for guarantee in {*Guarantee} - item.guarantees))
    return f"{held}; NOT: {missing}" if missing else held


def _embedded(settings: Settings) -> Finding:
    if importlib.util.find_spec("xllamacpp") is None:
        return Finding(
            "embedded model", "warn", "the package xllamacpp is not installed", "pip install 'treadle[local]'"
        )
    here = [item.model.name for item in pull.installed(settings.model) if item.is_present]
    if not here:
        todo = f"treadle models pull {DEFAULT_MODEL} (or `treadle build` fetches it)"
        return Finding("embedded model", "warn", f"none fetched yet into {settings.model.cache_dir}", todo)
    return Finding("embedded model", "ok", f"{', '.join(here)} in {settings.model.cache_dir}")


def _cards() -> list[Finding]:
    found, used = nvml.cards(), {card.name for card in devices()}
    findings = [
        Finding(f"gpu {card.index}", "ok", f"{card.name}: {_gb(card.used_bytes)} of {_gb(card.total_bytes)} GB used")
        for card in found.cards
    ]
    if found.cards and not used and importlib.util.find_spec("xllamacpp") is not None:
        what = "the installed llama.cpp computes on the processor only"
        findings.append(Finding("gpu", "warn", what, "Install a build of xllamacpp for CUDA, or use Ollama."))
    if not found.cards and _NVIDIA.exists():
        what = f"there is a driver of NVIDIA, but its cards cannot be seen: {found.why_not}"
        return [Finding("gpu", "warn", what, "pip install 'treadle[gpu]'; see whether nvidia-smi works.")]
    return findings or [Finding("gpu", "ok", f"no card found ({found.why_not}): models run on the processor")]


async def _memory(settings: Settings) -> Finding:
    """The budget of the embedded models, and whether the one that would answer fits."""
    allowed = await asyncio.to_thread(budget, settings.model)
    loaded = await host.ps(settings.model)
    what = f"{_gb(allowed.bytes)} GB for embedded models ({allowed.source})"
    if loaded:
        what += f"; loaded: {', '.join(f'{item.model} ({_gb(item.memory_bytes)} GB)' for item in loaded)}"
    own = settings.model
    sizes = {
        item.model.name: gguf.loaded(item.path, context=own.context, parallel=own.parallel).total
        for item in pull.installed(own)
        if item.is_present
    }
    large = [f"{name} ({_gb(size)} GB)" for name, size in sizes.items() if size > allowed.bytes]
    if large:
        todo = "Raise TREADLE_MODEL_MEMORY_GB, or lower TREADLE_MODEL_CONTEXT or TREADLE_MODEL_PARALLEL."
        return Finding("model memory", "warn", f"{what}; too large for it: {', '.join(large)}", todo)
    return Finding("model memory", "ok", what)


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f}"


async def _ollama(settings: Settings) -> Finding:
    url = settings.model.ollama_url
    tags = await shipped.ollama_tags(url)
    if tags is None:
        todo = "ollama serve, if you want to use it." if shutil.which("ollama") else ""
        return Finding("ollama", "ok", f"not running at {without_password(url)}; not needed", todo)
    if not tags:
        todo = "treadle models pull ollama/qwen2.5-coder:7b, or another."
        return Finding("ollama", "warn", f"running at {without_password(url)} without a model", todo)
    return Finding("ollama", "ok", f"running at {without_password(url)} with {', '.join(tag.name for tag in tags)}")


async def _answers(settings: Settings) -> Finding:
    try:
        choice = await choose.choose(settings)
    except TreadleError as error:
        return Finding("model choice", "bad", str(error), error.hint)
    return Finding("model choice", "ok", f"{choice.model} ({choice.provider}) answers, {choice.reason}")


def _disk(settings: Settings) -> Finding:
    folder = _existing(settings.model.cache_dir)
    free = shutil.disk_usage(folder).free
    what = f"{free / 1e9:.1f} GB free in {folder}"
    if free < _LOW_DISK_BYTES:
        return Finding("disk", "warn", what, "Free some space, or set TREADLE_MODELS_DIR.")
    return Finding("disk", "ok", what)


def _project(settings: Settings) -> Finding:
    folder = settings.project
    home = folder / ".treadle"
    what = f"{folder}; runs are kept at {without_password(settings.store.url)}"
    if not os.access(home if home.is_dir() else folder, os.W_OK | os.X_OK):
        return Finding("project", "bad", f"{folder} cannot be written", "Work in a folder of your own.")
    return Finding("project", "ok", what)


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())
