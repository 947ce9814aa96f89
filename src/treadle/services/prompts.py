"""The prompts of a project: those of the package, and over them those of the user's folder."""

from __future__ import annotations

import difflib
from pathlib import Path

from treadle.agents.prompt import Prompts
from treadle.errors import ConfigError
from treadle.settings import Settings

_OWN = Path(".treadle") / "prompts"


def prompts_dir(settings: Settings) -> Path | None:
    """The folder whose prompts take the place of shipped ones; None if there is none.

    Raises:
        ConfigError: A folder is configured, and is not there.
    """
    if settings.prompts.dir == Path():
        own = settings.project / _OWN
        return own if own.is_dir() else None
    if not settings.prompts.dir.is_dir():
        raise ConfigError(
            f"{settings.origins.get('prompts.dir', 'The setting prompts.dir')} says that prompts lie in "
            f"{settings.prompts.dir}, which is no folder; nothing was started.",
            hint="Make it, or take the setting away: the shipped prompts are used then.",
        )
    return settings.prompts.dir


def load_prompts(settings: Settings) -> Prompts:
    """Read the prompts. Raises ConfigError with every mistake in the user's own."""
    return Prompts.load(prompts_dir(settings))


def difference(prompts: Prompts, name: str) -> str:
    """A prompt of the user's against the shipped one, as a unified diff; empty if it is the shipped one.

    Raises:
        UnknownName: There is no such prompt.
        ConfigError: No shipped prompt has its name.
    """
    own, shipped = prompts[name], prompts.shipped.get(name)
    if shipped is None:
        raise ConfigError(f"Prompt {name!r} ({own.file}) takes the place of none; there is nothing to compare.")
    if own.file == shipped.file:
        return ""
    before, after = (prompt.file.read_text("utf-8").splitlines() for prompt in (shipped, own))
    return "\n".join(difflib.unified_diff(before, after, f"shipped/{name}", str(own.file), lineterm=""))
