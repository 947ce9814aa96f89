"""Treadle: durable graphs, and AI agents that build software on your own hardware.

These are the public names. Importing this module loads nothing else: each name is fetched on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle import errors as errors
    from treadle.app import Orchestrator as Orchestrator
    from treadle.app import Worker as Worker
    from treadle.app import open_store as open_store
    from treadle.app import run_sync as run_sync
    from treadle.domain.codec import register_type as register_type
    from treadle.domain.policy import RetryPolicy as RetryPolicy
    from treadle.domain.state import State as State
    from treadle.engine.registry import NodeRegistry as NodeRegistry
    from treadle.engine.results import Result as Result
    from treadle.engine.results import RunOptions as RunOptions
    from treadle.engine.retention import export_run as export_run
    from treadle.engine.retention import import_run as import_run
    from treadle.engine.retention import prune as prune
    from treadle.engine.signals import interrupt as interrupt
    from treadle.graph.build import Graph as Graph
    from treadle.graph.marks import cpu_bound as cpu_bound
    from treadle.graph.marks import inline as inline
    from treadle.graph.spec import END as END
    from treadle.graph.spec import START as START
    from treadle.graph.spec import CachePolicy as CachePolicy
    from treadle.graph.spec import Command as Command
    from treadle.graph.spec import Send as Send
    from treadle.pipelines import PipelineBuilder as PipelineBuilder
    from treadle.ports.context import NodeContext as NodeContext

__version__ = "0.1.0"

_HOMES = {
    "CachePolicy": "treadle.graph.spec",
    "Command": "treadle.graph.spec",
    "END": "treadle.graph.spec",
    "Graph": "treadle.graph.build",
    "NodeContext": "treadle.ports.context",
    "NodeRegistry": "treadle.engine.registry",
    "Orchestrator": "treadle.app",
    "PipelineBuilder": "treadle.pipelines",
    "Result": "treadle.engine.orchestrator",
    "RetryPolicy": "treadle.domain.policy",
    "RunOptions": "treadle.engine.orchestrator",
    "START": "treadle.graph.spec",
    "Send": "treadle.graph.spec",
    "State": "treadle.domain.state",
    "Worker": "treadle.app",
    "cpu_bound": "treadle.graph.marks",
    "export_run": "treadle.engine.retention",
    "import_run": "treadle.engine.retention",
    "inline": "treadle.graph.marks",
    "interrupt": "treadle.engine.signals",
    "open_store": "treadle.app",
    "prune": "treadle.engine.retention",
    "register_type": "treadle.domain.codec",
    "run_sync": "treadle.app",
}

__all__ = [
    "END",
    "START",
    "CachePolicy",
    "Command",
    "Graph",
    "NodeContext",
    "NodeRegistry",
    "Orchestrator",
    "PipelineBuilder",
    "Result",
    "RetryPolicy",
    "RunOptions",
    "Send",
    "State",
    "Worker",
    "cpu_bound",
    "errors",
    "export_run",
    "import_run",
    "inline",
    "interrupt",
    "open_store",
    "prune",
    "register_type",
    "run_sync",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("treadle.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
