"""Which model answers, and why: routing over the inventory that holds for the settings.

A model or provider that a flag or the configuration names; else the tier in `servers.yaml`; and without one, what is
shipped: a running Ollama, then the embedded model. A paid provider is never chosen because a key lies in the
environment: it has to be named.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import cast

from treadle.domain.inventory import Inventory, ModelEntry, Service, ServiceKind
from treadle.errors import ConfigError, ModelUnavailable, UnknownName
from treadle.models.files.catalog import DEFAULT_MODEL, is_known, is_own_file, locate, names
from treadle.models.inventory.keys import without_keys
from treadle.models.inventory.read import load_inventory
from treadle.models.inventory.servers import VENDORS
from treadle.models.inventory.shipped import OllamaTag, can_chat, ollama_tags, pick_coding_model, shipped_inventory
from treadle.models.loopback import is_loopback
from treadle.models.routing import Need, Obstacles, Route, ladder
from treadle.settings import Settings, without_password

_PROVIDERS = ("embedded", "ollama", "openai", "anthropic", "gemini", "vllm", "llama_server")


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that answers."""

    model: str
    """Its name in the inventory."""
    provider: str
    """`embedded`, or the kind of its service: `ollama`, `openai`, `vllm`, `anthropic`, ..."""
    reason: str
    """Why, as the end of a sentence that begins `MODEL answers, `: `because the flag --model names it`."""
    served_as: str = field(default="", compare=False)
    """What its service calls it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything that may answer, in order."""

    inventory: Inventory
    ladder: tuple[Route, ...]
    """Where the task begins, and the tiers that it may climb to. At least one; a pinned tier is never left."""
    reason: str = ""
    """Why the first of them does, where that is not the route's to say."""

    @property
    def route(self) -> Route:
        """Where the task begins."""
        return self.ladder[0]

    @property
    def choice(self) -> Choice:
        """The first of them. Raises ConfigError, ModelUnavailable if there is none."""
        best = self.route.best
        reason = self.reason or f"because {best.reason}"
        return Choice(best.entry.name, provider_of(best.service), reason, best.entry.served_as)


Probe = Callable[[str], Awaitable[list[OllamaTag] | None]]
"""Asks the Ollama at a URL what it has; None if nobody answers."""


async def choose(settings: Settings, *, probe: Probe | None = None) -> Choice:
    """Decide which model answers: the first of `decide`.

    Raises:
        UnknownName: The named model is nowhere to be had.
        ConfigError: A provider is named without what it needs, or the inventory is wrong, or no model can be used.
        ModelUnavailable: Ollama is named as the provider, and does not answer.
    """
    return (await decide(settings, probe=probe)).choice


async def decide(settings: Settings, need: Need | None = None, *, probe: Probe | None = None) -> Decision:
    """Decide which models may answer a task, in order. What the settings name counts for more than the task.

    Asks an Ollama on loopback what it has if there is no `servers.yaml`, and nobody else.

    Raises:
        UnknownName, ConfigError, ModelUnavailable: As `choose`; but an empty route is no error yet.
    """
    wanted = _wanted(settings, need or Need())
    written = load_inventory(settings)
    if written is not None and _has(written, wanted):
        return Decision(written, ladder(wanted, written, Obstacles(without_keys(written, settings))))
    found = _Shipped(settings, wanted, probe or ollama_tags, written)
    inventory, model, reason = await found.look()
    obstacles = Obstacles(without_keys(inventory, settings))
    return Decision(inventory, ladder(replace(wanted, model=model, kind=None), inventory, obstacles), reason)


def recorded(settings: Settings, provider: str, model: str) -> tuple[Service, ModelEntry]:
    """Find again what was chosen, from its recorded provider and name, in another process or later. Asks nobody.

    Raises:
        ConfigError: The inventory is wrong.
    """
    written = load_inventory(settings)
    entry = written.models.get(model) if written else None
    if written and entry and provider_of(written.services[entry.service]) == provider:
        return written.services[entry.service], entry
    return _service_for(provider, settings), ModelEntry(model, provider, model, settings.model.context)


def provider_of(service: Service) -> str:
    """What users call the kind of a service."""
    return "embedded" if service.kind == "llama_cpp" else service.kind


def _wanted(settings: Settings, need: Need) -> Need:
    provider, name = _split(settings)
    if name or provider != "auto":
        key = "model" if name and settings.model.provider == "auto" else "provider"
        kind = None if provider == "auto" else cast("ServiceKind", "llama_cpp" if provider == "embedded" else provider)
        tier = None if settings.model.tier == "auto" else settings.model.tier
        return replace(need, model=name, kind=kind, tier=tier or need.tier, named_by=_origin(settings, key))
    if settings.model.tier != "auto":
        return replace(need, tier=settings.model.tier, named_by=_origin(settings, "tier"))
    return need


def _has(written: Inventory, wanted: Need) -> bool:
    """Tell whether the written inventory is the one to ask."""
    if wanted.model:
        entry = written.models.get(wanted.model)
        return entry is not None and wanted.kind in (None, written.services[entry.service].kind)
    return wanted.kind is None or any(service.kind == wanted.kind for service in written.services.values())


@dataclass(frozen=True, slots=True)
class _Shipped:
    """Looks for a model where no file says anything about it."""

    settings: Settings
    wanted: Need
    ask: Probe
    written: Inventory | None

    async def look(self) -> tuple[Inventory, str, str]:
        """The inventory, the model in it that is named or picked, and why. No model: the tier decides."""
        kind, name = self.wanted.kind, self.wanted.model
        if kind == "ollama":
            return await self._ollama()
        if kind == "llama_cpp":
            return self._embedded(name)
        if kind is not None:
            return self._remote(kind)
        if name:
            return await self._by_name()
        return await self._unnamed()

    async def _unnamed(self) -> tuple[Inventory, str, str]:
        url = self.settings.model.ollama_url
        shown = without_password(url)
        tags = await self.ask(url) if is_loopback(url) else None
        inventory = shipped_inventory(self.settings.model, tags)
        if self.wanted.tier or self.wanted.agent or self.wanted.complexity:
            return inventory, "", ""
        if not is_loopback(url):
            ollama = f"the Ollama at {shown} is not on this machine and was not asked (--provider ollama uses it)"
        elif tags is None:
            ollama = "no Ollama is running"
        elif (picked := pick_coding_model(tags)) is None:
            ollama = f"the Ollama at {shown} has no model for code"
        else:
            why = f"because Ollama is running at {shown} and has it, and no other is configured"
            return inventory, picked, why
        why = f"because it is the built-in default: no model is configured, and {ollama}"
        return inventory, "", why

    async def _by_name(self) -> tuple[Inventory, str, str]:
        name, url = self.wanted.model, self.settings.model.ollama_url
        if is_own_file(name):
            return self._embedded(name)
        tags = (await self.ask(url) or []) if is_loopback(url) else []
        if (found := _match(name, tags)) is not None:
            why = f"{self._because('model')}, and Ollama at {without_password(url)} has it"
            return shipped_inventory(self.settings.model, tags), found, why
        if is_known(name):
            return self._embedded(name)
        others = self.written.models if self.written else ()
        raise UnknownName("model", name, {*names(), *(tag.name for tag in tags), *others})

    def _embedded(self, name: str) -> tuple[Inventory, str, str]:
        inventory = shipped_inventory(self.settings.model, None)
        if not name and self.wanted.tier:
            return inventory, "", ""
        found = locate(name or DEFAULT_MODEL, self.settings.model).name
        if found not in inventory.models:
            inventory = _with(inventory, inventory.services["embedded"], found, self.settings)
        return inventory, found, self._because("model" if name else "provider")

    async def _ollama(self) -> tuple[Inventory, str, str]:
        url, name = self.settings.model.ollama_url, self.wanted.model
        tags = await self.ask(url)
        if tags is None:
            raise ModelUnavailable(
                f"Ollama does not answer at {without_password(url)}; nothing was started.",
                hint="Start it with `ollama serve`, correct ollama_url, or use --provider embedded.",
            )
        inventory = shipped_inventory(self.settings.model, tags)
        if not name:
            chat = [tag for tag in tags if can_chat(tag)]
            picked = pick_coding_model(tags) or (chat[0].name if chat else None)
            if picked is None:
                raise ConfigError(
                    f"Ollama at {without_password(url)} has no model; nothing was started.",
                    hint="Run: ollama pull qwen2.5-coder:7b",
                )
            return inventory, picked, f"{self._because('provider')}, and of what Ollama has it suits code best"
        found = _match(name, tags)
        if found is None:
            raise UnknownName("model", name, [tag.name for tag in tags])
        return inventory, found, self._because("model")

    def _remote(self, kind: ServiceKind) -> tuple[Inventory, str, str]:
        name = self.wanted.model
        service = _service_for(kind, self.settings)
        no_address = () if service.url or kind in VENDORS else ("openai_base_url",)
        missing = [*no_address, *(() if name else ("model",))]
        if missing:
            hint = "Set TREADLE_OPENAI_BASE_URL (for example https://api.openai.com/v1) and name a --model."
            if kind != "openai":
                hint = f"Name a --model, or write a service of kind {kind} and its models into servers.yaml."
            raise ConfigError(
                f"Provider {kind!r} is configured without {' and '.join(missing)}; nothing was started.", hint=hint
            )
        inventory = _with(Inventory(), service, name, self.settings)
        key = "provider" if self.settings.model.provider == kind else "model"
        return inventory, name, self._because(key)

    def _because(self, key: str) -> str:
        return f"because {_origin(self.settings, key)} names it"


def _service_for(provider: str, settings: Settings) -> Service:
    """The service of a provider as the settings alone describe it."""
    model = settings.model
    if provider == "embedded":
        return Service("embedded", "llama_cpp", concurrency=model.parallel)
    if provider == "ollama":
        return Service("ollama", "ollama", model.ollama_url)
    if provider in VENDORS:
        return Service(provider, cast("ServiceKind", provider), api_key_env=VENDORS[provider])
    key = model.openai_api_key_env if model.openai_api_key else ""  # many servers need none
    return Service(provider, cast("ServiceKind", provider), model.openai_base_url, key)


def _with(inventory: Inventory, service: Service, name: str, settings: Settings) -> Inventory:
    """The inventory and one more model."""
    entry = ModelEntry(name, service.name, name, settings.model.context)
    services = {**inventory.services, service.name: service}
    return replace(inventory, services=services, models={**inventory.models, name: entry})


def _split(settings: Settings) -> tuple[str, str]:
    """Read a provider in front of the model's name, as in `ollama/llama3`. The same provider twice is no conflict."""
    model = settings.model
    prefix, slash, rest = model.model.partition("/")
    if not slash or prefix not in _PROVIDERS or is_own_file(model.model):
        return model.provider, model.model
    if model.provider not in ("auto", prefix):
        # A name with a slash in it that only happens to begin so.
        return model.provider, model.model
    return prefix, rest


def _origin(settings: Settings, key: str) -> str:
    return settings.origins.get(f"model.{key}", "the configuration")


def _match(name: str, tags: list[OllamaTag]) -> str | None:
    wanted = name.lower()
    return next((tag.name for tag in tags if tag.name.lower() in (wanted, f"{wanted}:latest")), None)
