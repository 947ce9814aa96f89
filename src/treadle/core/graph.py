"""`from treadle.core.graph import END` works as users know it; the graph itself is in `treadle.graph`."""

from treadle.graph.build import Graph
from treadle.graph.spec import END, START, Command, Send

__all__ = ["END", "START", "Command", "Graph", "Send"]
