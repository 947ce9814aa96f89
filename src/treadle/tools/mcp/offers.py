"""What a server says of its tools, as a model may be told of it: foreign words, cut and cleaned. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from treadle.domain.messages import ToolDefinition
from treadle.models.wrappers.almost_json import schema_flaw
from treadle.ports.tool import Offer, ToolEffects
from treadle.settings import McpServer
from treadle.tools.output import printable

SEPARATOR = "__"
_NAME_CHARACTERS = 64
"""That providers take; of letters, digits, hyphens and underscores."""
_ABOUT_CHARACTERS = 2000
_ARGUMENT_CHARACTERS = 400
_SCHEMA_CHARACTERS = 16_000
_DEPTH = 24
"""Of schemas; what is deeper is left out."""
_MOST_NESTED = 200
_LEFT_OUT = frozenset({"$schema", "$id", "$comment", "examples", "pattern", "patternProperties", "deprecated"})
"""Of schemas. Patterns: a hostile one takes forever to match, and the server checks what it is given anyway."""
_WORDS = ("description", "title")
_NAMED = ("properties", "$defs", "definitions", "dependentSchemas")
"""Their keys are names, and no words of the schema language."""
_HIDDEN = frozenset({"Cf", "Co", "Cn", "Cs"})
"""Unicode categories of characters that people do not see: they could tell models what nobody reads."""

_SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
"""They change the character before them, and can carry a text of their own."""


def offers_of(server: McpServer, tools: Sequence[Mapping[str, Any]]) -> tuple[list[Offer], list[str]]:
    """The tools of a server as they are offered, and why others are not."""
    offers: dict[str, Offer] = {}
    problems = []
    for tool in tools:
        own = str(tool.get("name", ""))
        if not server.has(own):
            continue
        if _is_nested(tool):
            problems.append(f"A tool of the MCP server {server.name!r} cannot be used: it is nested too deeply")
            continue
        name = name_of(server.name, own)
        if name in offers:
            name = _shortened(f"{server.name}{SEPARATOR}{own}", own)
        schema = _schema(tool.get("inputSchema"))
        why = "there are two of that name" if name in offers else _flaw(schema)
        if why:
            problems.append(f"{clean(own, 80)!r} of the MCP server {server.name!r} cannot be used: {why}")
            continue
        about = clean(str(tool.get("description") or tool.get("title") or own), _ABOUT_CHARACTERS)
        definition = ToolDefinition(name, about, schema)
        hints = tool.get("annotations") or {}
        offers[name] = Offer(
            definition, effects_of(hints), server.name, own, digest_of(tool), approve=server.approval(own)
        )
    return list(offers.values()), problems


def name_of(server: str, tool: str) -> str:
    """The name by which models know a tool of a server. One that providers would not take is shortened, and marked."""
    name = f"{server}{SEPARATOR}{tool}"
    if len(name) <= _NAME_CHARACTERS and re.fullmatch(r"[A-Za-z0-9_-]+", name):
        return name
    return _shortened(name, tool)


def effects_of(hints: Mapping[str, Any]) -> ToolEffects:
    """What a call may do, as far as the server says so. It may be wrong: who agrees to calls does not depend on it."""
    if hints.get("readOnlyHint") is True:
        return "none"
    return "idempotent" if hints.get("idempotentHint") is True else "at_most_once"


def digest_of(tool: Mapping[str, Any]) -> str:
    """Names what a server says of a tool, as it says it."""
    said = {key: tool.get(key) for key in ("name", "title", "description", "inputSchema", "annotations")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def clean(text: str, limit: int) -> str:
    """The text without what people would not see, and no longer than this."""
    seen = "".join(c for c in printable(text) if unicodedata.category(c) not in _HIDDEN and c not in _SELECTORS).strip()
    return seen if len(seen) <= limit else seen[: limit - 4].rstrip() + " ..."


def _is_nested(value: Any) -> bool:
    level = [value]
    for _ in range(_MOST_NESTED):
        level = [
            inner
            for one in level
            if isinstance(one, Mapping | list)
            for inner in (one.values() if isinstance(one, Mapping) else one)
        ]
    return bool(level)


def _shortened(name: str, own: str) -> str:
    mark = hashlib.sha256(own.encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)
    return f"{plain[: _NAME_CHARACTERS - 9]}_{mark}"


def _schema(given: Any) -> dict[str, Any]:
    schema = _cleaned(given if isinstance(given, Mapping) else {}, 0)
    return {**schema, "type": "object", "properties": schema.get("properties") or {}}


def _cleaned(schema: Any, depth: int) -> Any:
    if depth > _DEPTH and isinstance(schema, list | Mapping):
        return [] if isinstance(schema, list) else {}
    if isinstance(schema, list):
        return [_cleaned(one, depth + 1) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _WORDS and isinstance(value, str):
            cleaned[key] = clean(value, _ARGUMENT_CHARACTERS)
        elif key in _NAMED and isinstance(value, Mapping):
            cleaned[key] = {clean(str(name), 80): _cleaned(inner, depth + 1) for name, inner in value.items()}
        elif key not in _LEFT_OUT:
            cleaned[key] = _cleaned(value, depth + 1)
    return cleaned


def _flaw(schema: dict[str, Any]) -> str:
    length = len(json.dumps(schema))
    if length > _SCHEMA_CHARACTERS:
        return f"the schema of its arguments has {length} characters"
    flaw = schema_flaw(schema)
    return f"the schema of its arguments is wrong: {clean(flaw, 200)}" if flaw else ""
