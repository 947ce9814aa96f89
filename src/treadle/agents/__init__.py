"""Agents: the loop of a model and its tools, agents of the user's own, those of the build pipeline, and their prompts.

Importing this module loads nothing else: each public name is fetched on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.agents.conversation import Conversation as Conversation
    from treadle.agents.custom import Agent as Agent
    from treadle.agents.pipeline import Pipeline as Pipeline
    from treadle.agents.pipeline import Reply as Reply
    from treadle.agents.registry import AgentRegistry as AgentRegistry
    from treadle.agents.spec import AgentSpec as AgentSpec
    from treadle.agents.tool_worker import ToolWorker as ToolWorker
    from treadle.agents.worker import Worker as Worker
    from treadle.domain.recorded import thread_of as thread_of
    from treadle.domain.thread import Thread as Thread

_HOMES = {
    "Agent": "treadle.agents.custom",
    "AgentRegistry": "treadle.agents.registry",
    "AgentSpec": "treadle.agents.spec",
    "Conversation": "treadle.agents.conversation",
    "Pipeline": "treadle.agents.pipeline",
    "PipelineBuilder": "treadle.pipelines",
    "Reply": "treadle.agents.pipeline",
    "Thread": "treadle.domain.thread",
    "ToolWorker": "treadle.agents.tool_worker",
    "Worker": "treadle.agents.worker",
    "thread_of": "treadle.domain.recorded",
}

__all__ = [
    "Agent",
    "AgentRegistry",
    "AgentSpec",
    "Conversation",
    "Pipeline",
    "Reply",
    "Thread",
    "ToolWorker",
    "Worker",
    "thread_of",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'treadle.agents' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
