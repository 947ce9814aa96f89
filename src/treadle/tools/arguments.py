"""Whether arguments fit a tool, and in words that a model can act on why not."""

from __future__ import annotations

from collections.abc import Mapping
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
    known, needed = parameters.get("properties", {}), parameters.get("required", ())
    return {
        name: value
        for name, value in args.items()
        if value is not None or name in needed or name not in known or _takes_null(known[name])
    }


def signature(definition: ToolDefinition) -> str:
    """The arguments of a tool in one line: `path (string), lines (integer, optional)`."""
    properties = definition.parameters.get("properties", {})
    needed = definition.parameters.get("required", ())
    shown = [f"{name} ({_kind(about)}{'' if name in needed else ', optional'})" for name, about in properties.items()]
    return ", ".join(shown) or "no arguments"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(repr(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    kind = str(schema.get("type", "anything"))
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"list of {_kind(schema['items'])}"
    if kind == "object" and schema.get("properties"):
        needed = schema.get("required", ())
        keys = [name if name in needed else f"{name}?" for name in schema["properties"]]
        return f"object with {', '.join(keys)}"
    return kind


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    kinds = schema.get("type", "null")
    return "null" in kinds if "anyOf" not in schema else any(_takes_null(one) for one in schema["anyOf"])
