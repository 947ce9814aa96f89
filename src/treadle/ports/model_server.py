"""The port of what holds models in memory: Ollama, the embedded llama.cpp, a llama-server router, vLLM.

Answering is `ports.model.Model`; which model is loaded when is decided by the pool, never in here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from treadle.ports.model import Model

OnNote = Callable[[str], None]
"""Called with what is being waited for, in words."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that is in memory now."""

    model: str
    bytes: int
    """Memory it takes, weights and context, as measured or as the server says."""
    gpu_share: float
    """1.0: all of it on graphics cards; 0.0: none."""
    context: int | None = None
    in_flight: int | None = None
    """Requests it is answering; None: the server does not say."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one graphics card, or of the machine where there is none."""

    device: str
    """`gpu0`, `gpu1`, `ram`."""
    total_bytes: int
    """What models may take of it: the budget, where one is configured."""
    used_bytes: int
    """Taken now, by anybody."""
    source: str
    """Where the figures come from: `nvml`, `/api/ps`, `gguf`, `budget`."""


class ModelServer(Protocol):
    """Loads, unloads and tells what is loaded. One object for one service."""

    @property
    def name(self) -> str:
        """The service's name in the inventory."""

    @property
    def model(self) -> Model:
        """Answers requests of models that are loaded here. Closing the server closes it."""

    async def residents(self) -> Sequence[Resident]:
        """What is loaded, as the server itself says. Raises ModelUnavailable."""

    async def memory(self) -> Sequence[Memory]:
        """The memory that models may take. Raises ModelUnavailable."""

    async def size_bytes(self, model: str) -> int | None:
        """What the model would take when loaded, as well as can be known without loading it; None: cannot be known.

        Raises UnknownName, ModelUnavailable.
        """

    async def load(self, model: str, *, on_note: OnNote | None = None) -> Resident:
        """Have it in memory when this returns. Idempotent. Evicts nothing by itself.

        Raises:
            UnknownName: The server has no such model.
            ModelUnavailable: It could not be loaded, for want of memory or because the server is gone.
        """

    async def unload(self, model: str) -> None:
        """Its memory is free when this returns. Idempotent. The caller sees to it that nobody is using it.

        Raises ModelUnavailable.
        """

    async def close(self) -> None:
        """Give up connections; what is loaded stays loaded. Idempotent."""
