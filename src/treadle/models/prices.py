"""What models cost: the inventory's own price first, then the table of `genai-prices`; local models cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from treadle.domain.inventory import ModelEntry, Price, Service
from treadle.domain.messages import Usage
from treadle.models.loopback import is_on_own_network
from treadle.ports.model import Pricing

_OWN = frozenset({"llama_cpp", "llama_server", "vllm"})
_VENDORS = {"anthropic": "anthropic", "gemini": "google"}


def pricing_of(entry: ModelEntry, service: Service) -> Pricing | None:
    """How to tell what an answer of a model cost; None if its price is not known. Contacts nobody."""
    price = entry.price
    if is_free(entry, service) or price.input_per_million is not None or price.output_per_million is not None:
        return _fixed(price)
    by_table = _by_table(entry, service)
    if by_table is None:
        return None
    hourly = _fixed(Price(per_hour=price.per_hour))
    return lambda usage, seconds: by_table(usage) + hourly(usage, seconds)


def is_free(entry: ModelEntry, service: Service) -> bool:
    """Whether nobody sends a bill for its tokens: it runs on hardware of the user's own."""
    if service.kind == "ollama":
        return not entry.served_as.endswith("cloud")  # those it passes on to its own paid service
    if service.kind == "openai":
        return is_on_own_network(service.url) and not service.api_key_env
    return service.kind in _OWN


def dearest(pricings: Sequence[Pricing | None]) -> Pricing | None:
    """What an answer takes at most, whichever of several models gives it; None if that of one is not known."""
    known = [pricing for pricing in pricings if pricing is not None]
    if len(known) < len(pricings):
        return None
    return lambda usage, seconds: max((pricing(usage, seconds) for pricing in known), default=0.0)


def _fixed(price: Price) -> Pricing:
    per_input, per_output = (price.input_per_million or 0.0) / 1e6, (price.output_per_million or 0.0) / 1e6
    per_second = (price.per_hour or 0.0) / 3600

    def cost(usage: Usage, seconds: float) -> float:
        return usage.input_tokens * per_input + usage.output_tokens * per_output + seconds * per_second

    return cost


def _by_table(entry: ModelEntry, service: Service) -> Callable[[Usage], float] | None:
    try:
        table: Any = import_module("genai_prices")
    except ImportError:
        return None
    where = {"provider_id": _VENDORS.get(service.kind)} if service.kind in _VENDORS else _provider_at(service.url)

    def cost(usage: Usage) -> float:
        counted = table.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_input_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        total: Decimal = table.calc_price(counted, entry.served_as, **where).total_price
        return float(total)

    try:
        cost(Usage(1, 1))
    except LookupError:
        return None
    return cost


def _provider_at(url: str) -> dict[str, str]:
    """Who answers at an address: a model of the same name may cost something else elsewhere."""
    return {"provider_api_url": url} if urlsplit(url).hostname else {"provider_id": "openai"}
