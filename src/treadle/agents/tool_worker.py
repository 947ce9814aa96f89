"""The role that makes the calls: one of the two of an agent's loop. The other is `worker.py`."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from treadle.domain.decision import Approve, Deny, ToolRule
from treadle.domain.messages import ToolCall, ToolDefinition
from treadle.domain.recorded import called, plain_response, response_of
from treadle.domain.thread import Thread, ToolResponse
from treadle.domain.trace import traceparent
from treadle.errors import EffectInterrupted, NotFound, Refused, SandboxUnavailable, TreadleError, nearest
from treadle.ports.context import NodeContext
from treadle.ports.sandbox import Limits, Sandbox
from treadle.ports.tool import Tool, ToolContext, ToolResult
from treadle.tools.arguments import problems_of, without_nulls
from treadle.tools.call import call_tool
from treadle.workspace import TreeBaseline, Workspace

_INTERRUPTED = (
    "This call was under way when the program was stopped, and nobody knows whether it took effect. It was not "
    "repeated. Look how things stand before you go on."
)
_DIGESTED = 1000
"""Changed files of a call that are read for its digest."""
logger = logging.getLogger("treadle.agents")

_Begun = dict[str, asyncio.Task[tuple[ToolResult, dict[str, Any], float]]]
"""Calls under way, by id: what comes of each, what its tools remember, and its seconds."""


class ToolWorker:
    """Makes the calls that a model asks for, with its own tools and nothing else, in a sandbox.

    With a workspace, each call that changed files records the tree that it left, and a node that is entered again goes
    on from the last one. Without, the files are what they are; a call that changes them is then never repeated.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        sandbox: Sandbox,
        *,
        workspace: Workspace | None = None,
        base: str = "",
        limits: Limits | None = None,
        seconds: float = 600.0,
    ) -> None:
        """`base`: the tree to begin from; empty: no files. `seconds`: what one call may take at most."""
        self._tools = {tool.name: tool for tool in tools}
        self._sandbox = sandbox
        self._workspace = workspace
        self._base = base
        self._limits = limits or Limits()
        self._seconds = seconds
        self._is_restored = False

    @property
    def definitions(self) -> tuple[ToolDefinition, ...]:
        """The tools as a model is told of them."""
        return tuple(tool.definition for tool in self._tools.values())

    def rules(self, approve: Mapping[str, Approve] | None = None) -> dict[str, ToolRule]:
        """What the loop has to know of the tools. `approve`: by tool; what is not in it is allowed."""
        return {
            name: ToolRule((approve or {}).get(name, "allow"), self._effects(tool), tool.resources, _problem(tool))
            for name, tool in self._tools.items()
        }

    async def run(self, ctx: NodeContext, thread: Thread, calls: Sequence[ToolCall], key: str) -> None:
        """Make calls side by side, and move the thread on by what came of them, in their order.

        Raises:
            SandboxUnavailable: The sandbox failed to start. What did not come to an end is made again another time.
        """
        places = {call.id: number for number, call in enumerate(thread.turns[-1].calls)}
        begun: _Begun = {}
        try:
            for number, call in enumerate(calls):
                work = partial(self._work, ctx, thread, calls[number:], begun)
                thread.apply(await self._recorded(ctx, call, work, f"{key}.{places[call.id]}"))
        finally:
            for task in begun.values():
                task.cancel()
            await asyncio.gather(*begun.values(), return_exceptions=True)

    async def deny(self, ctx: NodeContext, thread: Thread, action: Deny, key: str) -> None:
        """Answer a call with why it is not made."""
        position = thread.turns[-1].calls.index(action.call)
        response = ToolResponse(action.call.id, action.why, is_error=True, outcome="denied")
        thread.apply(await _answered(ctx, action.call, response, f"{key}.{position}"))

    async def _recorded(self, ctx: NodeContext, call: ToolCall, work: Any, key: str) -> ToolResponse:
        tool = self._tools.get(call.name)
        wrong = self._wrong(call, tool)
        if wrong or tool is None:
            return await _answered(ctx, call, ToolResponse(call.id, wrong, is_error=True, outcome="invalid"), key)
        is_once = self._effects(tool) == "at_most_once"
        try:
            result = await ctx.step(
                key, work, kind="tool", request=called(call), effects="at_most_once" if is_once else "idempotent"
            )
        except EffectInterrupted:
            response = ToolResponse(call.id, _INTERRUPTED, is_error=True, outcome="interrupted")
            return await _answered(ctx, call, response, f"{key}.interrupted")
        return response_of(call.id, result)

    async def _work(self, ctx: NodeContext, thread: Thread, calls: Sequence[ToolCall], begun: _Begun) -> dict[str, Any]:
        """Do the first of the calls, and begin with the others. They are recorded one after the other, in their order:
        so what is recorded at a crash is always the first ones, and the last tree holds what all of them did."""
        await self._restore(thread)
        for call in calls if not begun else calls[:1]:
            tool = self._tools.get(call.name)
            is_due = call is calls[0] or (tool is not None and self._effects(tool) != "at_most_once")
            if tool and is_due and call.id not in begun and not self._wrong(call, tool):
                begun[call.id] = asyncio.create_task(self._timed(ctx, tool, call, copy.deepcopy(thread.memory)))
        call, before = calls[0], thread.memory
        result, memory, seconds = await begun[call.id]
        response = await self._response(thread, call, self._tools[call.name], result, is_alone=len(begun) == 1)
        kept = {name: value for name, value in memory.items() if before.get(name) != value}
        return plain_response(replace(response, memory=kept, seconds=seconds))

    async def _timed(
        self, ctx: NodeContext, tool: Tool, call: ToolCall, memory: dict[str, Any]
    ) -> tuple[ToolResult, dict[str, Any], float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        return await self._call(ctx, tool, call, memory), memory, round(loop.time() - began, 6)

    async def _call(self, ctx: NodeContext, tool: Tool, call: ToolCall, memory: dict[str, Any]) -> ToolResult:
        context = ToolContext(
            self._sandbox,
            self._limits,
            memory,
            _NodeBlobs(ctx),
            await self._baseline(),
            trace=traceparent(ctx.run_id, f"{ctx.activation}/{call.id}"),
            on_progress=lambda text: ctx.emit({"tool": tool.name, "call": call.id, "progress": text}),
        )
        try:
            async with asyncio.timeout(self._seconds) as bound:
                return await call_tool(tool, call.arguments, context)
        except SandboxUnavailable:
            raise
        except TreadleError as error:
            return ToolResult(error.with_hint, is_error=True)
        except Exception as error:
            if isinstance(error, TimeoutError) and bound.expired():
                return ToolResult(f"It took longer than {self._seconds:g} s and was stopped.", is_error=True)
            logger.warning("The tool %r failed.", tool.name, exc_info=True)
            return ToolResult(f"The tool failed: {type(error).__name__}: {error}", is_error=True)

    async def _response(
        self, thread: Thread, call: ToolCall, tool: Tool, result: ToolResult, *, is_alone: bool
    ) -> ToolResponse:
        tree, changed = "", result.changed
        if self._workspace is not None and tool.effects != "none" and (changed or is_alone):
            before = thread.tree or await self._begin()
            tree = await self._workspace.take(before, changed, only_these=not is_alone)
            if tree == before:
                tree = ""
            elif not changed:
                changed = tuple(await self._workspace.snapshots.changed(before, tree))
        digest = await self._digest(changed) if changed and self._workspace is None else ""
        return ToolResponse(
            call.id, result.text, result.is_error, result.exit_code, result.data, changed, result.full, result.ends,
            tree=tree, digest=digest,
        )  # fmt: skip

    async def _digest(self, changed: Sequence[str]) -> str:
        """One digest of what changed files hold now; of one that is gone, or is no file, its name."""
        found = hashlib.sha256()
        for path in changed[:_DIGESTED]:
            held = b""
            with suppress(NotFound, Refused):
                held = hashlib.sha256((await self._sandbox.files.read(path)).data).digest()
            found.update(path.encode() + b"\0" + held)
        return found.hexdigest()

    async def _begin(self) -> str:
        assert self._workspace is not None
        self._base = self._base or await self._workspace.empty()
        return self._base

    async def _restore(self, thread: Thread) -> None:
        """Before the first call that is really made: have the files as the calls before it left them."""
        if self._workspace is not None and not self._is_restored:
            await self._workspace.restore(thread.tree or await self._begin())
        self._is_restored = True

    async def _baseline(self) -> TreeBaseline | None:
        if self._workspace is None:
            return None
        at = self._workspace
        return TreeBaseline(at.snapshots, at.folder, at.run_id, await self._begin())

    def _effects(self, tool: Tool) -> str:
        """What a crash in the middle of a call means: files that cannot be put back must not be changed twice."""
        is_safe = tool.effects == "none" or (tool.effects == "idempotent" and self._workspace is not None)
        return tool.effects if is_safe else "at_most_once"

    def _wrong(self, call: ToolCall, tool: Tool | None) -> str:
        """What the model has to be told of a call that cannot be made; empty if it can."""
        if tool is None:
            names = ", ".join(self._tools) or "none"
            return f"There is no tool {call.name!r}. {nearest(call.name, self._tools)} Your tools: {names}."
        problem = _problem(tool)(call.arguments)
        return f"{call.name} was not called. {problem}" if problem else ""


def _problem(tool: Tool) -> Any:
    definition = tool.definition
    return lambda args: problems_of(without_nulls(args, definition.parameters), definition)


async def _answered(ctx: NodeContext, call: ToolCall, response: ToolResponse, key: str) -> ToolResponse:
    """Record a response that no tool gave."""
    plain = plain_response(response)
    return response_of(call.id, await ctx.step(key, lambda: plain, kind="tool", request=called(call)))


class _NodeBlobs:
    """The blobs of a node as tools know them."""

    def __init__(self, ctx: NodeContext) -> None:
        self._ctx = ctx

    async def put_blob(self, data: bytes) -> str:
        return await self._ctx.blobs.put(data)

    async def get_blob(self, digest: str) -> bytes:
        return await self._ctx.blobs.get(digest)
