"""The calls that a worker makes: a function per node, found once, and results kept for nodes that have a cache."""

from __future__ import annotations

from treadle.engine.cache import ResultCache, key_of
from treadle.engine.context import Context
from treadle.engine.execute import Callee, Outcome, execute
from treadle.engine.registry import NodeRegistry
from treadle.graph.plan import Live
from treadle.graph.spec import CompiledGraph, Node


class Calls:
    """Runs nodes by their functions, or by those that a registry has for them."""

    def __init__(self, registry: NodeRegistry) -> None:
        self._registry = registry
        self._callees: dict[int, tuple[Node, Callee]] = {}
        """By identity of the node, which is kept so that no other can take its place."""
        self._cache = ResultCache()

    async def run(self, live: Live, context: Context) -> Outcome:
        """Execute one activation, or give back what it came to for the same input before. Raises as `execute`."""
        callee, policy = self._callee(live.node), live.node.cache
        if policy is None or callee is None:
            return await execute(live, callee, context)
        key = key_of(live, policy)
        found = self._cache.find(key, callee.func, policy)
        if found is None:
            found = await execute(live, callee, context)
            self._cache.keep(key, callee.func, found)
        return found

    def forget(self, graph: CompiledGraph) -> None:
        """Another graph takes this one's place."""
        for node in graph.listed.values():
            self._callees.pop(id(node), None)

    def _callee(self, node: Node) -> Callee | None:
        func = node.func
        if func is None:
            if node.subgraph is not None:
                return None
            func = self._registry.find(node.node_type)
        known = self._callees.get(id(node))
        if known is None or known[1].func is not func:
            known = self._callees[id(node)] = (node, Callee.of(func))
        return known[1]
