"""Agent pools: which models stand ready for which kind of work. Configuration only; read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError, UnknownName
from treadle.pool.policy import DEFAULT_POLICY, policy_of

FILE = "pool.toml"
OTHERS = "others"
"""The log of requests for models that no agent pool names."""


@dataclass(frozen=True, slots=True)
class AgentPool:
    """Models for one kind of work. Who asks for the pool by name gets the one that would answer first."""

    name: str
    models: tuple[str, ...]
    """In order of preference."""
    slots: int = 1
    """Requests that each of them answers at once."""
    pinned: bool = False
    """Their memory is never given to others."""
    interactive: bool = False
    """Somebody sits before their requests."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How the pool is set up."""

    policy: str = DEFAULT_POLICY
    memory_gb: float | None = None
    """At most this much of each device; None: all that the server gives models."""
    pools: Mapping[str, AgentPool] = field(default_factory=dict)

    def pool_of(self, model: str) -> str:
        """The first agent pool that names the model."""
        return next((pool.name for pool in self.pools.values() if model in pool.models), OTHERS)

    def slots_of(self, model: str) -> int | None:
        """Requests at once; None: no pool names the model."""
        return max((pool.slots for pool in self.pools.values() if model in pool.models), default=None)

    def is_pinned(self, model: str) -> bool:
        return any(pool.pinned for pool in self.pools.values() if model in pool.models)


def default_config() -> PoolConfig:
    """The shipped set-up: fits 4 GB."""
    return parse_config(tomllib.loads(files(__package__).joinpath("default.toml").read_text("utf-8")), "default.toml")


def read_config(path: Path) -> PoolConfig:
    """Read a set-up. Raises ConfigError, UnknownName."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or 'it is not UTF-8'}.") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not TOML: {exc}.", hint="See docs/howto/pool.md.") from exc
    return parse_config(data, str(path))


def parse_config(data: Mapping[str, Any], where: str) -> PoolConfig:
    """Check a set-up. Raises ConfigError, UnknownName."""
    _known(data, where, ("policy", "memory_gb", "pools"))
    policy = policy_of(_typed(data, "policy", str, DEFAULT_POLICY, where)).name
    memory = _typed(data, "memory_gb", (int, float), None, where)
    if memory is not None and not 0 < memory < float("inf"):
        raise _wrong(where, "memory_gb", memory, "a number above 0")
    pools = _typed(data, "pools", dict, {}, where)
    return PoolConfig(policy, memory, {name: _pool(name, table, where) for name, table in pools.items()})


def _pool(name: str, table: Any, where: str) -> AgentPool:
    place = f"{where}: pools.{name}"
    if not isinstance(table, dict):
        raise ConfigError(f"{place} is not a table.", hint=f'Write [pools.{name}] and models = ["..."] under it.')
    _known(table, place, ("models", "slots", "pinned", "interactive"))
    models = _typed(table, "models", list, [], place)
    if not models or not all(isinstance(model, str) and model for model in models):
        raise _wrong(place, "models", models, "a list of at least one name")
    if len(set(models)) < len(models):
        raise _wrong(place, "models", models, "a list without repetition")
    slots = _typed(table, "slots", int, 1, place)
    if not 1 <= slots <= 1024:
        raise _wrong(place, "slots", slots, "a number from 1 to 1024")
    pinned = _typed(table, "pinned", bool, False, place)
    return AgentPool(name, tuple(models), slots, pinned, _typed(table, "interactive", bool, False, place))


def _known(table: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            raise UnknownName(f"key in {where}", key, keys)


def _typed(table: Mapping[str, Any], key: str, kind: Any, default: Any, where: str) -> Any:
    value = table.get(key, default)
    is_wrong_bool = isinstance(value, bool) and kind is not bool
    if value is not default and (is_wrong_bool or not isinstance(value, kind)):
        named = kind.__name__ if isinstance(kind, type) else "number"
        raise _wrong(where, key, value, f"a {named}")
    return value


def _wrong(where: str, key: str, value: Any, wanted: str) -> ConfigError:
    return ConfigError(f"{where}: {key} is {value!r}; {wanted} is expected.", hint="See docs/howto/pool.md.")
