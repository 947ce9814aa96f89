"""Where the nodes of builds run: those at home on the machine of the build, the others with whoever has its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from treadle.domain.policy import RetryPolicy
from treadle.errors import ModelUnavailable, SnapshotUnavailable
from treadle.graph.build import Graph
from treadle.models.choose import Choice
from treadle.workflows import CrewOf, Places, graph_of

_BY_ANOTHER = RetryPolicy(
    max_attempts=6, initial_seconds=1.0, max_seconds=15.0, retry_on=(ModelUnavailable, SnapshotUnavailable)
)
"""What one machine lacks, another may have."""


@dataclass(frozen=True, slots=True)
class Guest:
    """What a worker brings to builds that were started on other machines. Checked: it works here."""

    model: Choice
    sandbox: str
    script: str = ""
    """Of a scripted model."""

    @property
    def queue(self) -> str:
        return model_queue(self.model.provider, self.model.model)


def queue_of(run_id: str) -> str:
    """The queue for the tasks of one build that only its home may run."""
    return f"build:{run_id}"


def model_queue(provider: str, model: str) -> str:
    """The queue for tasks of builds that any machine with this model may run."""
    return f"build:{provider}/{model}"


def placed_graph(crew_of: CrewOf, *, shared: bool) -> Graph:
    """The graph for builds, with every node in its queue.

    Args:
        shared: The store is one that other machines reach.
    """
    return graph_of(crew_of, Places(_at_home, _anywhere, _BY_ANOTHER if shared else None))


def _at_home(state: Mapping[str, Any], run_id: str) -> str:
    return queue_of(run_id)


def _anywhere(state: Mapping[str, Any], run_id: str) -> str:
    return state.get("work_queue") or state.get("queue") or queue_of(run_id)
