"""Packages that come with an extra. They are imported when they are first needed, and a missing one is explained."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from treadle.errors import ConfigError


def require(module: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        ConfigError: It is not installed. The hint is the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as exc:
        raise ConfigError(
            f"The package {module!r} cannot be imported ({exc}); nothing was asked.",
            hint=f'Run: pip install "treadle[{extra}]"',
        ) from exc
