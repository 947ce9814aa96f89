"""A workspace, and tools called on it as an agent loop calls them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from treadle.ports.tool import ToolContext, ToolResult
from treadle.sandboxes.choose import open_sandbox
from treadle.stores.memory import MemoryStore
from treadle.tools import BUILT_IN, ToolRegistry, call_tool


class Hands:
    """Calls tools by name. The sandbox is the strongest of this machine."""

    def __init__(self, context: ToolContext) -> None:
        self.context = context
        self.folder = context.sandbox.workspace
        self.registry = ToolRegistry()
        self.registry.add(*BUILT_IN)

    async def __call__(self, tool: str, /, **args: Any) -> ToolResult:
        return await call_tool(self.registry.get(tool), args, self.context)


@pytest.fixture
async def hands(tmp_path: Path) -> AsyncIterator[Hands]:
    folder = tmp_path / "workspace"
    folder.mkdir()
    sandbox = await open_sandbox(folder)
    yield Hands(ToolContext(sandbox, blobs=MemoryStore()))
    await sandbox.close()
