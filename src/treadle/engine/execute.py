"""One execution of one node: prepare, call, read what it returned, choose where to go. Knows nothing of leases."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from treadle.domain.state import Values
from treadle.engine.child import call_in_child
from treadle.engine.context import Context, ThreadContext
from treadle.engine.signals import current_context
from treadle.engine.threads import SLOW_SECONDS
from treadle.errors import NodeError, NodeTimeout, UnknownName, UsageError
from treadle.graph.marks import is_cpu_bound, is_inline, takes_context
from treadle.graph.plan import Live, Target
from treadle.graph.spec import END, Branch, Command, CompiledGraph, Node, Send


@dataclass(slots=True)
class Outcome:
    """What a node's execution came to."""

    update: Values
    route: Sequence[Target] = ()
    cached: bool = False


_NOTHING = Outcome({})


@dataclass(slots=True)
class Callee:
    """A node's function, and how to call it. Found once per function."""

    func: Callable[..., Any]
    is_async: bool
    wants_context: bool
    cpu_bound: bool
    inline: bool
    seconds: float = SLOW_SECONDS
    """What a call in a thread takes: a moving average."""

    @classmethod
    def of(cls, func: Callable[..., Any]) -> Callee:
        target = func if inspect.isroutine(func) or inspect.isclass(func) else getattr(func, "__call__", func)  # noqa: B004
        return cls(func, inspect.iscoroutinefunction(target), takes_context(func), is_cpu_bound(func), is_inline(func))


async def execute(live: Live, callee: Callee | None, context: Context) -> Outcome:
    """Run one activation.

    Raises:
        NodeTimeout: It took longer than its timeout, and was stopped.
        Signal: It asked to wait.
        Exception: Whatever the node raised.
    """
    graph, node = live.frame.graph, live.node
    if live.after or callee is None:  # a subgraph that is over: only its conditional edges are left
        return (
            Outcome({}, await _route(graph, node, live.state(), (), context))
            if node.name in graph.branches
            else _NOTHING
        )
    given = view_of(live, context.run_id)
    return await conclude(live, await call(callee, given, context, node.name, node.timeout), context)


async def conclude(live: Live, returned: Any, context: Context) -> Outcome:
    """Read what a node returned, and choose where to go."""
    graph, node = live.frame.graph, live.node
    update, goto = _read(graph, node, returned)
    if not goto and node.name not in graph.branches:
        return Outcome(update)
    return Outcome(update, await _route(graph, node, graph.schema.apply(live.state(), update), goto, context))


async def call(callee: Callee, given: Any, context: Context, node: str, timeout: float | None) -> Any:
    """Call a node's function with its state, on the loop, in a thread, or in a process."""
    token = current_context.set(context)
    try:
        if callee.is_async:
            running = callee.func(given, context) if callee.wants_context else callee.func(given)
            return await (running if timeout is None else _bounded(running, node, timeout))
        if callee.cpu_bound:
            return await context.processes.call(callee, given, context, node, timeout)
        if timeout is not None:
            return await call_in_child(callee, given, context, node, timeout)
        if callee.inline:
            return callee.func(given)
        if callee.wants_context:
            return await context.threads.call(callee, given, ThreadContext(context, asyncio.get_running_loop()))
        return await context.threads.call(callee, given)
    finally:
        current_context.reset(token)


async def _bounded(running: Awaitable[Any], node: str, timeout: float) -> Any:
    try:
        async with asyncio.timeout(timeout) as bound:
            return await running
    except TimeoutError:
        if bound.expired():
            raise NodeTimeout(f"Node {node!r} ran longer than {timeout:g} s; it was stopped.") from None
        raise


def view_of(live: Live, run_id: str) -> Any:
    """What a node's function is called with."""
    schema = live.frame.graph.schema
    if live.data is not None and not isinstance(live.data, Mapping):
        return live.data
    values = live.state()
    if (
        live.data is not None
        and schema.wrap is not None
        and schema.keys is not None
        and not schema.keys >= values.keys()
    ):
        return dict(values)  # a Send may carry more than the declared state has room for
    return schema.view(values, run_id)


def _read(graph: CompiledGraph, node: Node, returned: Any) -> tuple[Values, Sequence[str | Send]]:
    goto: Sequence[str | Send] = ()
    if isinstance(returned, Command):
        goto = (returned.goto,) if isinstance(returned.goto, str | Send) else tuple(returned.goto)
        returned = returned.update
    update = graph.schema.as_update(returned)
    graph.schema.check_keys(update)
    for target in goto:
        name = target.node if isinstance(target, Send) else target
        if (node.name, name) not in graph.hops and not (name == END and END in node.destinations):
            raise UsageError(
                f"Node {node.name!r} went to {name!r}, which it did not declare; its result was not recorded.",
                hint=f"Declare it: add_node({node.name!r}, ..., destinations=[{name!r}]).",
            )
    return update, goto


async def _route(
    graph: CompiledGraph, node: Node, state: Values, goto: Sequence[str | Send], context: Context
) -> list[Target]:
    route: list[Target] = list(goto)
    for branch in graph.branches.get(node.name, ()):
        chosen = await _choose(branch, graph.schema.view(state, context.run_id), context)
        picked = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
        if not picked:
            route.append(Send("", list(dict.fromkeys(branch.targets.values()))))
        route += [_target(graph, branch, label) for label in picked]
    return route


def _wants_context(condition: Callable[..., Any]) -> bool:
    try:
        return _known_to_want_context(condition)
    except TypeError:  # a callable without a hash
        return takes_context(condition)


_known_to_want_context = functools.lru_cache(maxsize=1024)(takes_context)


async def _choose(branch: Branch, view: Any, context: Context) -> Any:
    args = (view, context) if _wants_context(branch.condition) else (view,)
    chosen = branch.condition(*args)
    if inspect.isawaitable(chosen):
        chosen = await chosen
    if chosen is None:
        raise NodeError(
            f"The condition {branch.name!r} after {branch.source!r} returned None; nothing was chosen.",
            hint="Return a label, a node, a Send, or [] to go nowhere.",
        )
    return chosen


def _target(graph: CompiledGraph, branch: Branch, label: Any) -> Target:
    name = label.node if isinstance(label, Send) else branch.targets.get(label, label)
    allowed = branch.targets.values() or [*graph.nodes, END]
    if name not in allowed:
        raise UnknownName(
            f"target of the conditional edge after {branch.source!r}", str(name), map(str, {*branch.targets, *allowed})
        )
    return label if isinstance(label, Send) else str(name)
