"""Models over models: asked again, left alone, within limits, kept for later, priced, understood, tried elsewhere."""

from treadle.models.wrappers.breaker import Breaker, Circuit
from treadle.models.wrappers.cached import Cached
from treadle.models.wrappers.fallback import Fallback
from treadle.models.wrappers.later import OpenedLater
from treadle.models.wrappers.lenient import Lenient
from treadle.models.wrappers.limited import Limited, Limiter
from treadle.models.wrappers.named import Named, Priced
from treadle.models.wrappers.retrying import Retrying
from treadle.models.wrappers.stack import Guard, ModelOf, tier_model, wrapped

__all__ = [
    "Breaker",
    "Cached",
    "Circuit",
    "Fallback",
    "Guard",
    "Lenient",
    "Limited",
    "Limiter",
    "ModelOf",
    "Named",
    "OpenedLater",
    "Priced",
    "Retrying",
    "tier_model",
    "wrapped",
]
