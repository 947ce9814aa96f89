"""Models on this machine, for every face: which there are, fetching, removing, what is loaded, unloading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.models import choose, host, pull, shipped
from treadle.models.catalog import DEFAULT_MODEL, ModelFile
from treadle.models.host import Loaded
from treadle.models.host_start import OnNote
from treadle.models.pull import OnProgress
from treadle.settings import Settings


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model that can answer here, or could after a pull."""

    name: str
    provider: str
    """`embedded` or `ollama`."""
    bytes: int
    state: str
    """`here`, `partial` or `not fetched`."""
    partial_bytes: int
    is_default: bool
    about: str
    license: str


class Models:
    """What can be asked about models, and done to them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def list(self) -> Sequence[ModelView]:
        """The catalogue in its order, then what a local Ollama has."""
        found = [_catalog_view(item) for item in pull.installed(self._settings.model)]
        tags = await shipped.ollama_tags(self._settings.model.ollama_url)
        return [*found, *(ModelView(t.name, "ollama", t.bytes, "here", 0, False, "in Ollama", "") for t in tags or [])]

    async def choice(self) -> choose.Choice:
        """Which model would answer now, and why. Raises as `models.choose.choose`."""
        return await choose.choose(self._settings)

    async def pull(self, name: str | None, on_progress: OnProgress | None = None) -> ModelFile:
        """Fetch a model, by default the built-in one; idempotent. Raises as `models.pull.pull`."""
        return await pull.pull(name or DEFAULT_MODEL, self._settings.model, on_progress=on_progress)

    async def remove(self, name: str) -> int:
        """Remove a model's file; returns the bytes that became free. Raises as `models.pull.remove`."""
        return pull.remove(name, self._settings.model)

    async def loaded(self) -> Sequence[Loaded]:
        """What is in memory now."""
        return await host.ps(self._settings.model)

    async def unload(self, name: str | None = None, on_note: OnNote | None = None) -> Sequence[str]:
        """Free the memory of what is loaded; returns the names. Raises as `models.host.unload`."""
        return await host.unload(self._settings.model, name, on_note=on_note)


def _catalog_view(item: pull.Installed) -> ModelView:
    model = item.model
    state = "here" if item.is_present else "partial" if item.partial_bytes else "not fetched"
    is_default = model.name == DEFAULT_MODEL
    return ModelView(
        model.name, "embedded", model.bytes, state, item.partial_bytes, is_default, model.about, model.license
    )
