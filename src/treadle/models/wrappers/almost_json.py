"""JSON out of what models write: within prose and fences, with commas too many and quotes too few. Lenient, because
small models are; what was guessed is checked against a schema, if there is one."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

_BEGINS_AS_JSON = re.compile(r"""\{\s*(?:["']|[\w-]+\s*:)|\[\s*["'\d{\[-]""")
_REPAIRED_AT_MOST = 50_000
"""Characters. Repairing takes long for more, and holds up everything else meanwhile."""


def json_value(text: str) -> Any:
    """Return the JSON object or list in an answer, or None. Bears prose around it, Python's spelling, a missing end."""
    opened = [position for position in (text.find("{"), text.find("[")) if position >= 0]
    if not opened:
        return None
    rest = text[min(opened) :]
    body = rest[: max(rest.rfind("}"), rest.rfind("]")) + 1]
    for attempt in (body, re.sub(r",\s*([}\]])", r"\1", body)):
        try:
            # Line breaks within strings can be forgiven without guessing.
            return json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            pass
        try:
            return ast.literal_eval(attempt)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            pass
    return _repaired(rest)


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that the whole text is meant to be, such as the arguments of a tool; or None."""
    value = json_value(text) if text.lstrip()[:1] == "{" else None
    return value if isinstance(value, dict) else None


def problem_with(value: Any, schema: dict[str, Any]) -> str:
    """Say in words for a model what is wrong with a value, most of all; empty if nothing is. See `problems_with`."""
    return next(iter(problems_with(value, schema, at_most=1)), "")


def problems_with(value: Any, schema: dict[str, Any], *, at_most: int = 5) -> list[str]:
    """Say in words for a model what is wrong with a value, the worst first.

    References to other addresses are not followed: a schema that has one is a problem.
    """
    exceptions = import_module("jsonschema").exceptions  # takes a third of a second, and most processes never need it
    try:
        errors = list(_validator(json.dumps(schema)).iter_errors(value))
        errors.sort(key=exceptions.relevance, reverse=True)
        worst = [exceptions.best_match([error]) for error in errors[:at_most]]
    except (exceptions.SchemaError, exceptions._WrappedReferencingError) as exc:
        return [f"its schema cannot be used: {exc}"]
    except RecursionError:  # the schema refers to itself without end, or the value is nested too deep
        return ["it cannot be checked: it is nested too deep for its schema"]
    return [f"{error.json_path}: {error.message[:300]}" for error in worst]


def schema_flaw(schema: Mapping[str, Any]) -> str:
    """Say what is wrong with a schema; empty if nothing is."""
    jsonschema = import_module("jsonschema")
    try:
        _validator(json.dumps(schema))
    except jsonschema.exceptions.SchemaError as error:
        return f"{error.json_path}: {error.message[:300]}"
    return ""


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    jsonschema, plain = import_module("jsonschema"), json.loads(schema)
    kind = jsonschema.validators.validator_for(plain, default=jsonschema.Draft202012Validator)
    kind.check_schema(plain)
    return kind(plain, registry=import_module("referencing").Registry())


def _repaired(text: str) -> Any:
    """Mend what can be guessed, but take no prose in brackets for it."""
    if len(text) > _REPAIRED_AT_MOST or not _BEGINS_AS_JSON.match(text):
        return None
    try:
        value = import_module("json_repair").loads(text)
    except (ValueError, RecursionError):
        return None
    is_as_opened = isinstance(value, dict if text[0] == "{" else list)
    return value if is_as_opened and value else None
