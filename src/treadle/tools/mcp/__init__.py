"""Tools of MCP servers. The SDK is imported when the first server is asked, and not before."""

from treadle.tools.mcp.access import obstacle
from treadle.tools.mcp.source import McpSource

__all__ = ["McpSource", "obstacle"]
