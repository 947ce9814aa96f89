"""Shipped workflows; the build pipeline is one."""

from treadle.workflows.build import CrewOf, Places, build_graph, debug_loop, graph_of
from treadle.workflows.crew import BuildSettings, BuildState, Crew, CrewTier, WorkState

__all__ = [
    "BuildSettings",
    "BuildState",
    "Crew",
    "CrewOf",
    "CrewTier",
    "Places",
    "WorkState",
    "build_graph",
    "debug_loop",
    "graph_of",
]
