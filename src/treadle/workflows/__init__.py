"""Shipped workflows; the build pipeline is one."""

from treadle.workflows.build import AT_HOME, CrewOf, Kind, build_graph, graph_of
from treadle.workflows.crew import BuildSettings, BuildState, Crew, CrewTier

__all__ = ["AT_HOME", "BuildSettings", "BuildState", "Crew", "CrewOf", "CrewTier", "Kind", "build_graph", "graph_of"]
