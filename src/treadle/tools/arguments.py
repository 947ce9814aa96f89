"""Whether arguments fit a tool, and in words that a model can act on why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.domain.messages import ToolDefinition
from treadle.models.wrappers.almost_json import problems_with


def problems_of(args: Any, definition: ToolDefinition) -> str:
    """Say what is wrong with the arguments of a call, and what it takes; empty if nothing is."""
    if not isinstance(args, Mapping):
        found = [f"its arguments are {type(args).__name__}, not an object"]
    else:
        found = problems_with(dict(args), definition.parameters)
    if not found:
        return ""
    return f"Wrong arguments: {'; '.join(found)}. It takes {signature(definition)}."


def without_nulls(args: Any, parameters: Mapping[str, Any]) -> Any:
    """Leave out arguments that are null and need not be given: some models name every argument."""
    if not isinstance(args, Mapping):
        return args
    known, needed = _known(parameters), _needed(parameters)
    return {
        name: value
        for name, value in args.items()
        if value is not None or name in needed or name not in known or _takes_null(known[name])
    }


def signature(definition: ToolDefinition) -> str:
    """The arguments of a tool in one line: `path (string), lines (integer, optional)`."""
    known, needed = _known(definition.parameters), _needed(definition.parameters)
    shown = [f"{name} ({_kind(about)}{'' if name in needed else ', optional'})" for name, about in known.items()]
    return ", ".join(shown) or "no arguments"


def _known(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties that a schema names. A schema of others may have anything in their place."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def _needed(schema: Mapping[str, Any]) -> Sequence[Any]:
    found = schema.get("required")
    return found if isinstance(found, list | tuple) else ()


def _kind(schema: Any, depth: int = 4) -> str:
    """What a schema takes, in a word or a few."""
    if not isinstance(schema, Mapping) or not depth:
        return "anything"
    if isinstance(schema.get("enum"), list):
        return " or ".join(repr(value) for value in schema["enum"])
    if isinstance(schema.get("anyOf"), list):
        return " or ".join(_kind(one, depth - 1) for one in schema["anyOf"])
    kinds = schema.get("type", "anything")
    kind = " or ".join(map(str, kinds)) if isinstance(kinds, list) else str(kinds)
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"list of {_kind(schema['items'], depth - 1)}"
    if kind == "object" and _known(schema):
        keys = [name if name in _needed(schema) else f"{name}?" for name in _known(schema)]
        return f"object with {', '.join(keys)}"
    return kind


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    if isinstance(schema.get("anyOf"), list):
        return any(_takes_null(one) for one in schema["anyOf"])
    return "null" in str(schema.get("type", "null"))
