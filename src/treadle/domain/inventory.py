"""What there is to compute with: servers, their services, models, and which of them a tier uses. Values only.

Read from `servers.yaml` and `routing_config.yaml` by `models/inventory/`; asked by routing, the pool and every face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Tier = Literal["tiny", "small", "large", "frontier"]
TIERS: tuple[Tier, ...] = ("tiny", "small", "large", "frontier")
"""From the cheapest to the dearest."""

Complexity = Literal["simple", "medium", "complex"]

ServiceKind = Literal["llama_cpp", "ollama", "openai", "vllm", "llama_server", "anthropic", "gemini"]
"""What a service speaks. `llama_cpp` is the embedded one: it needs no address. `openai` is anything that speaks
OpenAI's chat completions; `vllm` and `llama_server` speak them too, and can load and unload models."""

Ability = Literal["tools", "vision", "json", "thinking"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One graphics card."""

    name: str
    memory_gb: float


@dataclass(frozen=True, slots=True)
class Service:
    """One program on a server that answers model requests."""

    name: str
    """Unique in the inventory, as models refer to it: `SERVER.SERVICE`."""
    kind: ServiceKind
    url: str = ""
    """As the SDK of its kind takes it: with `/v1` where chat completions are spoken, without `/api` for Ollama.

    Empty for `llama_cpp`, and for a vendor's own address.
    """
    api_key_env: str = ""
    """Name of the variable that holds the key; the key itself is nowhere in here."""
    gpus: tuple[Gpu, ...] = ()
    """The cards it may use. None: it computes on the processor."""
    memory_gb: float | None = None
    """What its models may take together: the cards' memory, or less if it is so configured; None: nobody says."""
    concurrency: int | None = None
    """Requests at once; None: no limit of ours."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in USD. None: `genai-prices` knows, or it is free."""

    input_per_million: float | None = None
    output_per_million: float | None = None
    per_hour: float | None = None
    """Of answering: energy, or a rented machine."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model at one service."""

    name: str
    """Unique in the inventory; what routing and users say."""
    service: str
    """Name of its `Service`."""
    served_as: str
    """What the service calls it."""
    context: int = 8192
    """Tokens, prompt and answer together. The same for every request: another one makes servers load it anew."""
    size_gb: float | None = None
    """Memory it takes when loaded with that context; None: learnt."""
    abilities: frozenset[Ability] = frozenset()
    price: Price = field(default_factory=Price)


@dataclass(frozen=True, slots=True)
class Routing:
    """Which model does what."""

    tiers: Mapping[Tier, tuple[str, ...]] = field(default_factory=dict)
    """Names of models, in the order in which they are tried."""
    agents: Mapping[str, Tier] = field(default_factory=dict)
    """Of an agent or a domain, such as `coordinator` or `code_vision`."""
    complexity: Mapping[Complexity, Tier] = field(
        default_factory=lambda: {"simple": "tiny", "medium": "small", "complex": "large"}
    )
    escalation: Mapping[Tier, Tier] = field(
        default_factory=lambda: {"tiny": "small", "small": "large", "large": "frontier"}
    )
    """Where a task goes whose checks keep failing. Without cycles."""
    default_tier: Tier = "small"
    """Of what nothing else says anything about: the queue `default`."""
    budgets: Mapping[str, float] = field(default_factory=dict)
    """Of one run, by kind: `money` (USD), `tokens`, `seconds`."""


@dataclass(frozen=True, slots=True)
class Server:
    """One machine."""

    name: str
    address: str
    hardware: str = ""
    gpus: tuple[Gpu, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of the configuration that says where work can be done."""

    servers: Mapping[str, Server] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    infrastructure: Mapping[str, str] = field(default_factory=dict)
    """Address by name: `rabbitmq`, `redis`, `postgresql`; without passwords."""
    routing: Routing = field(default_factory=Routing)
