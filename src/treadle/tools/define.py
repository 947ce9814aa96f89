"""`@tool`: a function becomes a tool. Its schema is read from its annotations and its docstring."""

from __future__ import annotations

import asyncio
import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, overload

import msgspec

from treadle.domain.messages import ToolDefinition
from treadle.errors import TreadleError, UsageError
from treadle.ports.tool import ToolContext, ToolEffects, ToolResult

Resources = Callable[[Mapping[str, Any]], "frozenset[str] | set[str]"]
_EVERYTHING = frozenset({"*"})


class FunctionTool:
    """A tool that is a function. Implements `ports.tool.Tool`."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        effects: ToolEffects = "at_most_once",
        resources: Resources | None = None,
    ) -> None:
        """See `tool`."""
        self.name = name or str(getattr(function, "__name__", ""))
        self.effects: ToolEffects = effects
        self._function = function
        self._resources = resources
        self._parameters, self._context = _parameters(function, self.name)
        self.definition = _definition(function, self.name, self._parameters)

    def resources(self, args: Mapping[str, Any]) -> frozenset[str]:
        """What a call touches; see the port."""
        if self._resources is not None:
            return frozenset(self._resources(args))
        return frozenset() if self.effects == "none" else _EVERYTHING

    async def call(self, args: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Call the function, a sync one in a thread; what it raises of its own is told to the model."""
        given = self._given(args)
        if self._context:
            given[self._context] = context
        try:
            if inspect.iscoroutinefunction(self._function):
                returned = await self._function(**given)
            else:
                returned = await asyncio.to_thread(self._function, **given)
                returned = await returned if isinstance(returned, Awaitable) else returned
        except TreadleError:
            raise
        except Exception as error:  # noqa: BLE001  # a tool of others may raise anything
            return ToolResult(f"{self.name} failed: {type(error).__name__}: {error}", is_error=True)
        return _result(returned)

    def refuse_unknown(self, args: Mapping[str, Any]) -> None:
        """Raise UsageError if there are arguments that the function does not have. Its schema does not say so."""
        unknown = [name for name in args if name not in self._parameters]
        if unknown:
            takes = ", ".join(self._parameters) or "no arguments"
            what = f"{self.name} was not called: it has no argument {unknown[0]!r}."
            raise UsageError(what, hint=f"It takes {takes}.")

    def _given(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self.refuse_unknown(args)
        try:
            kinds = {name: self._parameters[name].annotation for name in args}
            # They fit the schema already: not strict, for there 1.0 is a whole number too.
            return {name: msgspec.convert(value, kinds[name], strict=False) for name, value in args.items()}
        except msgspec.ValidationError as error:  # what only the type refuses
            raise UsageError(f"{self.name} was not called: {error}.", hint="Give other arguments.") from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written."""
        return self._function(*args, **kwargs)


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    *, name: str = "", effects: ToolEffects = "at_most_once", resources: Resources | None = None
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    effects: ToolEffects = "at_most_once",
    resources: Resources | None = None,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function, sync or async: `@tool`, or `@tool(effects="none")`.

    Parameters need annotations of JSON-like types, dataclasses, `Literal` or `Annotated[..., msgspec.Meta(...)]`; one
    with a default need not be given. One annotated `ToolContext` is not shown to the model, and gets the context. The
    docstring's first part tells the model what the tool does, and the lines under `Args:` what each argument means.
    Returned may be text, JSON-like values, or a `ToolResult`.

    Args:
        effects: See `ToolEffects`. By default a call is never repeated, and nothing runs beside it.
        resources: What a call with some arguments touches; see `ports.tool.Tool`. By default everything, or with
            effects `none` nothing.

    Raises:
        UsageError: A parameter has no annotation, or one that no schema says.
    """

    def make(function: Callable[..., Any]) -> FunctionTool:
        return FunctionTool(function, name=name, effects=effects, resources=resources)

    return make if function is None else make(function)


def _parameters(function: Callable[..., Any], name: str) -> tuple[dict[str, inspect.Parameter], str]:
    """The parameters that the model gives, with their types, and the name of the one that takes the context."""
    hints = typing.get_type_hints(function, include_extras=True)
    found, context = {}, ""
    for parameter in inspect.signature(function).parameters.values():
        kind = hints.get(parameter.name)
        if kind is ToolContext:
            context = parameter.name
        elif kind is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(
                f"The tool {name!r} cannot be made: its parameter {parameter.name!r} has no annotation, or no name.",
                hint="Give each parameter a name and a type, such as `path: str`.",
            )
        else:
            found[parameter.name] = parameter.replace(annotation=kind)
    return found, context


def _definition(function: Callable[..., Any], name: str, parameters: Mapping[str, inspect.Parameter]) -> ToolDefinition:
    about, told = _docstring(inspect.getdoc(function) or "")
    if not about:
        raise UsageError(f"The tool {name!r} has no docstring.", hint="Say in it what the tool does: a model reads it.")
    types = [parameter.annotation for parameter in parameters.values()]
    try:
        schemas, shared = msgspec.json.schema_components(types)
    except TypeError as error:
        raise UsageError(f"The tool {name!r} cannot be made: {error}.", hint="Use JSON-like types.") from error
    properties = {}
    for (key, parameter), schema in zip(parameters.items(), schemas, strict=True):
        properties[key] = _inlined(schema, shared)
        if parameter.default is None:
            properties[key] = _without_null(properties[key])
        if key in told:
            properties[key]["description"] = told[key]
    needed = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    # Not a word more than needed: small models pay for each, and fill in every default that they are shown.
    return ToolDefinition(
        name, about, {"type": "object", "properties": properties, **({"required": needed} if needed else {})}
    )


def _inlined(schema: Any, shared: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    """Put definitions where they are referred to: small models do not look them up."""
    if isinstance(schema, list):
        return [_inlined(item, shared, within) for item in schema]
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if not name:
        inner = schema.get("properties", {})
        plain = {key: _inlined(value, shared, within) for key, value in schema.items() if key != "default"}
        return plain | ({"properties": {key: _inlined(inner[key], shared, within) for key in inner}} if inner else {})
    if name in within:
        raise UsageError(f"{name} contains itself, which a tool's arguments cannot.", hint="Use a flat list.")
    plain = _inlined(shared[name], shared, (*within, name))
    return {key: value for key, value in plain.items() if key not in ("title", "description")}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without `null`: what need not be given is left out instead."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return dict(kinds[0]) if len(kinds) == 1 else schema


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """Part a docstring into what is said before its sections, and what its `Args:` say."""
    parts = re.split(r"^(Args|Returns|Raises|Yields|Example|Examples):\s*$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    told: dict[str, str] = {}
    for match in re.finditer(r"^ {4}(\w+):((?:.|\n {8,})+)", sections.get("Args", ""), re.MULTILINE):
        told[match[1]] = " ".join(match[2].split())
    about = re.sub(r"(?<=\S)\n(?=[^\n])", " ", parts[0].strip())
    return about, told


def _result(returned: Any) -> ToolResult:
    if isinstance(returned, ToolResult):
        return returned
    if returned is None or isinstance(returned, str):
        return ToolResult(returned or "Done.")
    plain = msgspec.to_builtins(returned, enc_hook=str)
    return ToolResult(msgspec.json.encode(plain).decode(), data=plain)
