"""Small tools and scripted answers, for tests of the loop of agents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from treadle.agents.conversation import Conversation
from treadle.agents.tool_worker import ToolWorker
from treadle.agents.worker import Worker
from treadle.domain.decision import Approve, Policy
from treadle.domain.messages import ModelReply, ToolCall, ToolDefinition
from treadle.models.adapters.scripted import ScriptedModel
from treadle.ports.sandbox import Limits
from treadle.ports.tool import ToolContext, ToolEffects, ToolResult
from treadle.sandboxes.unconfined import UnconfinedSandbox
from treadle.workspace import Workspace


def schema(*names: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in names},
        "required": list(names),
        "additionalProperties": False,
    }


@dataclass
class Craft:
    """A tool made of a function of (arguments, context)."""

    name: str
    function: Callable[[Mapping[str, Any], ToolContext], Any]
    arguments: tuple[str, ...] = ()
    effects: ToolEffects = "none"
    touches: Callable[[Mapping[str, Any]], frozenset[str]] = lambda args: frozenset({"*"})
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def definition(self) -> ToolDefinition:
        return ToolDefinition(self.name, f"Does {self.name}.", schema(*self.arguments))

    def resources(self, args: Mapping[str, Any]) -> frozenset[str]:
        return self.touches(args)

    async def call(self, args: Mapping[str, Any], context: ToolContext) -> ToolResult:
        self.calls.append(dict(args))
        result = self.function(args, context)
        result = await result if asyncio.iscoroutine(result) else result
        return result if isinstance(result, ToolResult) else ToolResult(str(result))


def path_of(args: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({args["path"]})


def read_file() -> Craft:
    def read(args: Mapping[str, Any], context: ToolContext) -> Any:
        place = context.sandbox.workspace / args["path"]
        return place.read_text() if place.exists() else ToolResult("There is no such file.", is_error=True)

    return Craft("read_file", read, ("path",), "none", path_of)


def write_file() -> Craft:
    def write(args: Mapping[str, Any], context: ToolContext) -> ToolResult:
        (context.sandbox.workspace / args["path"]).write_text(args["content"])
        return ToolResult(f"wrote {args['path']}", changed=(args["path"],))

    return Craft("write_file", write, ("path", "content"), "idempotent", path_of)


def append() -> Craft:
    """Not to be repeated on files that have its effect already."""

    def add(args: Mapping[str, Any], context: ToolContext) -> ToolResult:
        place = context.sandbox.workspace / args["path"]
        place.write_text((place.read_text() if place.exists() else "") + args["content"])
        return ToolResult(f"appended to {args['path']}", changed=(args["path"],))

    return Craft("append", add, ("path", "content"), "idempotent", path_of)


def done() -> Craft:
    return Craft("done", lambda args, context: ToolResult(args["message"], ends=True), ("message",))


def call(name: str, id: str = "", **arguments: Any) -> ModelReply:
    return calls((name, arguments), ids=(id,))


def calls(*wanted: tuple[str, dict[str, Any]], ids: tuple[str, ...] = ()) -> ModelReply:
    made = tuple(
        ToolCall(ids[number] if number < len(ids) else "", name, arguments)
        for number, (name, arguments) in enumerate(wanted)
    )
    return ModelReply("", "m", "tool_calls", tool_calls=made)


def sandbox_over(folder: Path) -> UnconfinedSandbox:
    """For tools that only touch files."""
    return UnconfinedSandbox(folder, limits=Limits(), controllers=None)


async def workspace_at(home: Path) -> Workspace:
    return await Workspace.open(home, "run-1")


async def conversation(
    home: Path,
    model: ScriptedModel,
    *crafts: Craft,
    approve: Mapping[str, Approve] | None = None,
    **limits: Any,
) -> Conversation:
    """An agent with these tools over a workspace with snapshots."""
    workspace = await workspace_at(home)
    hands = ToolWorker(crafts, sandbox_over(workspace.folder), workspace=workspace)
    worker = Worker(model, "m", hands.definitions, max_tokens=limits.pop("max_tokens", 500))
    ended_by = "done" if any(craft.name == "done" for craft in crafts) else ""
    policy = Policy(hands.rules(approve), reserved=worker.reserved, ended_by=ended_by, **limits)
    return Conversation(worker, hands, policy)
