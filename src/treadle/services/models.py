"""Models on this machine, for every face: which there are, fetching, removing. What is loaded: `model_servers.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.domain.inventory import Inventory, ModelEntry
from treadle.models import choose
from treadle.models.drivers import ollama
from treadle.models.files import pull
from treadle.models.files.catalog import DEFAULT_MODEL
from treadle.models.files.pull import OnProgress
from treadle.models.inventory import shipped
from treadle.models.inventory.read import load_inventory
from treadle.settings import Settings, without_password


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model that can answer here, or could after a pull."""

    name: str
    provider: str
    """`embedded`, or the kind of its service."""
    bytes: int
    """0: not known."""
    state: str
    """`here`, `partial` or `not fetched`; `configured` of what `servers.yaml` says of other servers."""
    partial_bytes: int
    is_default: bool
    about: str
    license: str
    tiers: tuple[str, ...] = ()
    """Those that name it."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is here now."""

    name: str
    path: str
    """Its file, or the server that keeps it, in words."""


class Models:
    """What can be asked about models, and done to them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def list(self) -> Sequence[ModelView]:
        """The models of `servers.yaml`, then the catalogue in its order, then what a local Ollama has.

        Raises:
            ConfigError: The inventory is wrong.
        """
        tags = await shipped.ollama_tags(self._settings.model.ollama_url)
        written = load_inventory(self._settings)
        inventory = written or shipped.shipped_inventory(self._settings.model, tags)
        installed = pull.installed(self._settings.model)
        files = {item.model.name for item in installed}
        placed = [entry for entry in inventory.models.values() if written and entry.name not in files]
        found = [
            *(_entry_view(entry, inventory) for entry in placed),
            *(_catalog_view(item) for item in installed),
            *(ModelView(t.name, "ollama", t.bytes, "here", 0, False, "in Ollama", "") for t in tags or []),
        ]
        return [
            replace(view, tiers=_tiers_of(view.name, inventory), is_default=view.is_default and written is None)
            for view in found
        ]

    async def choice(self) -> choose.Choice:
        """Which model would answer now, and why. Raises as `models.choose.choose`."""
        return await choose.choose(self._settings)

    async def pull(self, name: str | None, on_progress: OnProgress | None = None) -> Pulled:
        """Fetch a model, by default the built-in one; `ollama/NAME` has the configured Ollama fetch it. Idempotent.

        Raises as `models.pull.pull`.
        """
        provider, _, rest = (name or "").partition("/")
        if provider == "ollama" and rest:
            url = self._settings.model.ollama_url
            await ollama.pull(url, rest, on_progress or (lambda done, total, note: None))
            return Pulled(rest, f"Ollama at {without_password(url)}")
        found = await pull.pull(name or DEFAULT_MODEL, self._settings.model, on_progress=on_progress)
        return Pulled(found.name, str(found.path))

    async def remove(self, name: str) -> int:
        """Remove a model's file; returns the bytes that became free. Raises as `models.pull.remove`."""
        return pull.remove(name, self._settings.model)


def _tiers_of(name: str, inventory: Inventory) -> tuple[str, ...]:
    return tuple(tier for tier, models in inventory.routing.tiers.items() if name in models)


def _entry_view(entry: ModelEntry, inventory: Inventory) -> ModelView:
    provider = choose.provider_of(inventory.services[entry.service])
    about = f"at {entry.service}, {entry.context:,} tokens"
    return ModelView(entry.name, provider, round((entry.size_gb or 0) * 1e9), "configured", 0, False, about, "")


def _catalog_view(item: pull.Installed) -> ModelView:
    model = item.model
    state = "here" if item.is_present else "partial" if item.partial_bytes else "not fetched"
    is_default = model.name == DEFAULT_MODEL
    return ModelView(
        model.name, "embedded", model.bytes, state, item.partial_bytes, is_default, model.about, model.license
    )
