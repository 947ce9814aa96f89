"""How much memory the embedded models may take together: of the graphics cards if llama.cpp uses them, else of RAM."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from treadle.settings import ModelSettings, child_environment

GB = 10**9
_RAM_SHARE = 0.7
"""The rest is for the system, for sandboxes and for what the user does."""
_GPU_SHARE = 0.9
"""The rest is for the screen, and for what the driver keeps."""
_ASK_SECONDS = 20.0
_DEVICES = """
import json, xllamacpp
kinds = [(d["type"].name, d["name"], d["description"], d["memory_total"]) for d in xllamacpp.get_device_info()]
print(json.dumps(kinds))
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the embedded models may take together."""

    bytes: int
    device: str
    """`ram` or `gpu`."""
    source: str
    """Where the figure comes from, in words."""


@dataclass(frozen=True, slots=True)
class Device:
    """A graphics card that llama.cpp would use."""

    name: str
    description: str
    bytes: int


def budget(settings: ModelSettings) -> Budget:
    """Say what the embedded models may take: as configured, or a share of what there is. May take a second, once."""
    cards = devices()
    device = "gpu" if cards else "ram"
    if settings.memory_gb > 0:
        return Budget(int(settings.memory_gb * GB), device, "model.memory_gb")
    if cards:
        return Budget(int(sum(card.bytes for card in cards) * _GPU_SHARE), device, f"{_GPU_SHARE:.0%} of the VRAM")
    return Budget(int(ram_bytes() * _RAM_SHARE), device, f"{_RAM_SHARE:.0%} of the RAM")


@lru_cache(maxsize=1)
def devices() -> tuple[Device, ...]:
    """List the graphics cards that the installed llama.cpp would use.

    It is asked in a process of its own: the libraries that talk to cards stay out of this one.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        return ()
    try:
        said = subprocess.run(
            [sys.executable, "-c", _DEVICES],
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=True,
            env=child_environment(),
            cwd="/",
        )
        found: list[Any] = json.loads(said.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ()
    return tuple(Device(name, about, total) for kind, name, about, total in found if kind.endswith("_GPU"))


def ram_bytes() -> int:
    """The memory of this machine, or of the container that this is."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limits = [_limit(Path("/sys/fs/cgroup", name)) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    return min([physical, *(limit for limit in limits if limit)])


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # `max`: none
        return None
