"""Calls of tools that a small model wrote into its text, because nobody taught it the way of its server."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from treadle.domain.messages import ToolCall, ToolDefinition
from treadle.models.wrappers.almost_json import json_value, problem_with

_TAGS = re.compile(
    r"<(tool_call|function_call|tool)>(.*?)(?:</\1>|(?=<\1>)|\Z)"
    r"|<function=([\w.-]+)>(.*?)(?:</function>|\Z)"
    r"|(?:\[TOOL_CALLS\]|<\|python_tag\|>)(.*)",
    re.DOTALL,
)
_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w-]*)[ \t]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
"""What servers take for the name of a tool when they are shown the call again."""
_DEPTH = 4
"""Tags within tags. A model that has lost its way writes thousands."""
_NAMES = ("name", "tool", "tool_name", "function", "function_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "params", "kwargs")

Call = tuple[str, dict[str, Any]]


def calls_in(text: str, tools: Sequence[ToolDefinition]) -> tuple[str, tuple[ToolCall, ...]]:
    """Return the text before the calls, and the calls of tools that are in it.

    Only calls of the given tools count, whose arguments fit their schema: everything else is text. In tags they need
    not fit, nor be of these tools: those are meant as calls, and whoever makes them tells what is wrong.
    """
    known = {tool.name: tool.parameters for tool in tools}
    tagged, found = _in_tags(text, known)
    meant = [call for call in found if call[0] in known or _NAME.fullmatch(call[0])]
    if _fitting(meant, known):
        return text[:tagged].rstrip(), _numbered(meant)
    for start, found in (_in_fences(text, known), _in_the_open(text, known)):
        if fitting := _fitting(found, known):
            return text[:start].rstrip(), _numbered(fitting)
    return (text[:tagged].rstrip() if meant else text), _numbered(meant)


def _fitting(calls: Sequence[Call], known: Mapping[str, Any]) -> list[Call]:
    return [call for call in calls if call[0] in known and not problem_with(call[1], known[call[0]])]


def _numbered(calls: Sequence[Call]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"call_{number}", name, given) for number, (name, given) in enumerate(calls))


def _in_tags(text: str, known: Mapping[str, Any], depth: int = _DEPTH) -> tuple[int, list[Call]]:
    """`<tool_call>{...}</tool_call>` and the like."""
    found, calls = list(_TAGS.finditer(text)), list[Call]()
    for match in found:
        _, inner, name, given, rest = match.groups()
        if name is None:
            within = inner or rest or ""
            nested = _in_tags(within, known, depth - 1)[1] if depth else []
            calls.extend(nested or _in_any_way(within, known))
        elif parameters := _PARAMETER.findall(given):
            calls.append((name, {key: _typed(value, key, known.get(name)) for key, value in parameters}))
        else:
            value = json_value(given)
            calls.append((name, value if isinstance(value, dict) else {}))
    return found[0].start() if found else 0, calls


def _in_fences(text: str, known: Mapping[str, Any]) -> tuple[int, list[Call]]:
    """Fenced JSON, or fenced calls as of Python."""
    start, calls = 0, list[Call]()
    for match in _FENCE.finditer(text):
        here = list(_in_any_way(match[2], known))
        if here and not calls:
            start = match.start()
        calls.extend(here)
    return start, calls


def _in_the_open(text: str, known: Mapping[str, Any]) -> tuple[int, list[Call]]:
    """JSON or calls without anything around them: from the first line that begins so, to the end."""
    names = "|".join(map(re.escape, sorted(known)))
    begun = re.search(rf"^[ \t]*(?:[\[{{]|(?:{names})\s*\()", text, re.MULTILINE) if names else None
    return (begun.start(), list(_in_any_way(text[begun.start() :], known))) if begun else (0, [])


def _in_any_way(text: str, known: Mapping[str, Any]) -> Iterator[Call]:
    text = text.strip()
    as_python = list(_of_python(text, known))
    if as_python:
        yield from as_python
    elif text[:1] in ("{", "["):
        if values := _json_lines(text):
            for value in values:
                yield from _of_json(value)
        else:
            yield from _of_json(json_value(text))


def _json_lines(text: str) -> list[Any]:
    """Several documents, one after the other; none if they are not whole."""
    values: list[Any] = []
    decoder = json.JSONDecoder(strict=False)
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return values if values and text[0] not in "{[" else []
        values.append(value)
        text = text[end:].lstrip(" \t\r\n,;")
    return values


def _of_json(value: Any) -> Iterator[Call]:
    if isinstance(value, list):
        for item in value:
            yield from _of_json(item)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("tool_calls"), list):
        yield from _of_json(value["tool_calls"])
        return
    if isinstance(value.get("function"), dict):
        value = value["function"]
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    given: Any = next((value[key] for key in _ARGUMENTS if key in value), {} if len(value) == 1 else None)
    if isinstance(given, str):
        given = json_value(given)
    if name is not None and isinstance(given, dict):
        yield name, given


def _of_python(text: str, known: Mapping[str, Any]) -> Iterator[Call]:
    """Calls as Python writes them: `add(a=1, b=2)`, alone, in lines, in a list or in a print."""
    if not any(name in text for name in known):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _name(node.func)) in known:
            given: dict[str, Any] = {}
            try:
                given |= {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
                places = list(known[name].get("properties", {}))
                given |= {key: ast.literal_eval(value) for key, value in zip(places, node.args, strict=False)}
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            yield name, given


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _typed(text: str, key: str, schema: Any) -> Any:
    """A parameter that was written as text: text if that is wanted, else what it reads as."""
    wanted = ((schema or {}).get("properties") or {}).get(key, {})
    if isinstance(wanted, dict) and wanted.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
