"""Functions by node type, for graphs that name their nodes only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from treadle.errors import UnknownName

F = TypeVar("F", bound=Callable[..., Any])


class NodeRegistry:
    """Node type -> function."""

    def __init__(self) -> None:
        self._functions: dict[str, Callable[..., Any]] = {}

    def register(self, node_type: str, function: Callable[..., Any] | None = None) -> Any:
        """Register a function; usable as `@registry.register("researcher")`."""
        if function is None:
            return lambda f: self.register(node_type, f)
        self._functions[node_type] = function
        return function

    def find(self, node_type: str) -> Callable[..., Any]:
        """Raises UnknownName."""
        try:
            return self._functions[node_type]
        except KeyError:
            raise UnknownName("function for node type", node_type, self._functions) from None

    def only(self, node_types: Iterable[str]) -> NodeRegistry:
        """A registry of these alone. Raises UnknownName."""
        made = NodeRegistry()
        for node_type in node_types:
            made.register(node_type, self.find(node_type))
        return made

    def __contains__(self, node_type: object) -> bool:
        return node_type in self._functions

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)
