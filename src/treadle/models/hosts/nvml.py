"""The graphics cards of this machine, as NVIDIA's own library tells (the extra `gpu`)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Card:
    """One graphics card, now."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    """By anybody."""


@dataclass(frozen=True, slots=True)
class Cards:
    """What was found, or why nothing was."""

    cards: tuple[Card, ...]
    why_not: str = ""
    """Empty if the library could be asked."""


def cards() -> Cards:
    """Ask the driver. Never raises: a machine without a card, without the driver or without the package has none."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return Cards((), "the package nvidia-ml-py is not installed")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as exc:
        return Cards((), f"NVIDIA's driver is not there ({exc})")
    try:
        return Cards(tuple(_card(nvml, index) for index in range(nvml.nvmlDeviceGetCount())))
    except nvml.NVMLError as exc:
        return Cards((), f"NVIDIA's driver does not answer ({exc})")
    finally:
        nvml.nvmlShutdown()


def _card(nvml: Any, index: int) -> Card:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
    shown = name.decode() if isinstance(name, bytes) else str(name)
    return Card(index, shown, int(memory.total), int(memory.used))
