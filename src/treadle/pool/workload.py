"""Workloads to play: read from JSON, every mistake told with the place where it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError, UnknownName

_GB = 1_000_000_000
_SHAPE = (
    'A workload looks like {"capacity_gb": 10, "models": {"m": {"size_gb": 4.7, "load_s": 5.7}}, '
    '"requests": [{"at_s": 0, "model": "m", "duration_s": 3}]}.'
)


@dataclass(frozen=True, slots=True)
class Sized:
    """A model of a workload."""

    bytes: int
    load_s: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a workload."""

    at_s: float
    model: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class Workload:
    """What there is, and what is asked of it. Requests lie in the order in which they come."""

    capacity: int
    """Bytes."""
    models: Mapping[str, Sized]
    requests: tuple[Asked, ...]


def read(path: Path) -> Workload:
    """Read a workload file. Raises ConfigError, UnknownName."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"Workload {str(path)!r} cannot be read: {reason}.", hint="Give a JSON file.") from exc
    try:
        data = json.loads(text, object_pairs_hook=_once_each)
    except json.JSONDecodeError as exc:
        raise ConfigError(
            f"Workload {str(path)!r} is not JSON: {exc.msg} in line {exc.lineno}, column {exc.colno}.", hint=_SHAPE
        ) from exc
    except RecursionError as exc:
        raise ConfigError(f"Workload {str(path)!r} is nested too deeply.", hint=_SHAPE) from exc
    return parse(data)


def parse(data: Any) -> Workload:
    """Check a workload. Raises ConfigError, UnknownName."""
    table = _table(data, "the workload", ("capacity_gb", "models", "requests"))
    capacity = _bytes(table["capacity_gb"], "capacity_gb")
    if not isinstance(table["models"], dict) or not table["models"]:
        raise ConfigError("models is not an object with at least one model.", hint=_SHAPE)
    models = {name: _sized(name, value, capacity) for name, value in table["models"].items()}
    if not isinstance(table["requests"], list):
        raise ConfigError("requests is not a list.", hint=_SHAPE)
    requests = [_asked(index, value, models) for index, value in enumerate(table["requests"])]
    return Workload(capacity, models, tuple(sorted(requests, key=lambda request: request.at_s)))


def _sized(name: str, value: Any, capacity: int) -> Sized:
    where = f"models.{name}"
    table = _table(value, where, ("size_gb", "load_s"))
    size = _bytes(table["size_gb"], f"{where}.size_gb")
    if size > capacity:
        raise ConfigError(
            f"Model {name!r} needs {size / _GB:g} GB, and capacity_gb is {capacity / _GB:g}: it can never be loaded.",
            hint="Raise capacity_gb, or take a smaller model.",
        )
    return Sized(size, _number(table["load_s"], f"{where}.load_s"))


def _asked(index: int, value: Any, models: Mapping[str, Sized]) -> Asked:
    where = f"requests[{index}]"
    table = _table(value, where, ("at_s", "model", "duration_s"))
    model = table["model"]
    if not isinstance(model, str):
        raise ConfigError(f"{where}.model is {_shown(model)}, which is not the name of a model.", hint=_SHAPE)
    if model not in models:
        error = UnknownName("model", model, models)
        raise UnknownName("model", model, models) from ConfigError(f"{where}: {error}")
    return Asked(_number(table["at_s"], f"{where}.at_s"), model, _number(table["duration_s"], f"{where}.duration_s"))


def _table(value: Any, where: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {_shown(value)}, which is not an object.", hint=_SHAPE)
    for key in value:
        if key not in keys:
            raise UnknownName(f"key in {where}", key, keys)
    missing = [key for key in keys if key not in value]
    if missing:
        raise ConfigError(f"{where} has no {' and no '.join(missing)}.", hint=_SHAPE)
    return value


def _bytes(value: Any, where: str) -> int:
    size = round(_number(value, where) * _GB)
    if size <= 0:
        raise ConfigError(f"{where} is {_shown(value)}; it has to be more than 0.", hint=_SHAPE)
    return size


def _number(value: Any, where: str) -> float:
    """Check a number that is finite and not negative. JSON as Python reads it has NaN and Infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{where} is {_shown(value)}, which is not a number.", hint=_SHAPE)
    if not 0 <= value <= 1e12 or not math.isfinite(value):
        raise ConfigError(f"{where} is {_shown(value)}; it has to be a finite number, 0 or more.", hint=_SHAPE)
    return float(value)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ConfigError(f"The workload names {key!r} twice in one object.", hint="Keep one of them.")
        table[key] = value
    return table
