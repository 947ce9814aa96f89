"""Tools by which an agent says where it stands: task_list, done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from treadle.ports.tool import ToolContext, ToolResult
from treadle.tools.define import tool

_MARKS = {"todo": "[ ]", "doing": "[>]", "done": "[x]"}


@dataclass(frozen=True, slots=True)
class ListedTask:
    """One line of an agent's own list."""

    title: str
    state: Literal["todo", "doing", "done"] = "todo"


@tool(effects="idempotent", resources=lambda _: {"task_list"})
async def task_list(tasks: list[ListedTask] | None = None, *, context: ToolContext) -> ToolResult:
    """Keep a list of what there is to do. Give the whole list to replace it; give nothing to see it.

    Args:
        tasks: In order, each with a `title` and a `state`: `todo`, `doing` or `done`.
    """
    if tasks is not None:
        context.memory["task_list"] = [asdict(task) for task in tasks]
    kept = context.memory.get("task_list", [])
    shown = "\n".join(f"{_MARKS[task['state']]} {task['title']}" for task in kept)
    return ToolResult(shown or "[the list is empty]", data=kept)


@tool(effects="none")
async def done(message: str) -> ToolResult:
    """Say that the work is over. Call it once, when everything that was asked for is there and was tried.

    Args:
        message: What was done, and what was left open.
    """
    return ToolResult(message, ends=True)
