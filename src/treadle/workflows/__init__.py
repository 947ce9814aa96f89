"""Shipped workflows; the build pipeline is one."""

from treadle.workflows.build import build_graph
from treadle.workflows.crew import BuildSettings, BuildState, Crew

__all__ = ["BuildSettings", "BuildState", "Crew", "build_graph"]
