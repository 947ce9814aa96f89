"""Shipped workflows; the build pipeline is one."""

from treadle.workflows.build import AT_HOME, CrewOf, Kind, build_graph, graph_of
from treadle.workflows.crew import BuildSettings, Crew, CrewTier, WorkState

__all__ = ["AT_HOME", "BuildSettings", "Crew", "CrewOf", "CrewTier", "Kind", "WorkState", "build_graph", "graph_of"]
