"""Templates in Jinja2: sandboxed, strict about names that nobody gives. Imported by nobody until a prompt is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from treadle.errors import ConfigError, Problem


def _without_outer_newlines(value: object) -> object:
    """A value stands in its line: code that ends with a newline does not push the next line away."""
    return value.strip("\n") if isinstance(value, str) else value


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined,
    autoescape=False,  # prompts are no HTML
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    finalize=_without_outer_newlines,
)


def names_used(body: str) -> frozenset[str]:
    """Names that a template takes from outside.

    Raises:
        ConfigError: It is no template, or it wants to read other files. The line is that of the body.
    """
    try:
        tree = _ENVIRONMENT.parse(body)
    except TemplateSyntaxError as error:
        raise ConfigError.of([Problem(f"It is no template: {error.message}", line=error.lineno)]) from error
    if list(meta.find_referenced_templates(tree)):
        raise ConfigError.of([Problem("It reads another template.", "A prompt is one file: put the text here.")])
    return frozenset(meta.find_undeclared_variables(tree) - set(_ENVIRONMENT.globals))


def render(body: str, values: Mapping[str, Any]) -> str:
    """Put values into a template. They are text, and never read as a template themselves.

    Raises:
        ConfigError: The template asks a value for something that it does not have, or may not.
    """
    try:
        return _compiled(body).render(values)
    except TemplateError as error:
        raise ConfigError(f"{error.message or type(error).__name__}.") from error
    except Exception as error:  # whatever a filter makes of a value that it is not for
        raise ConfigError(f"{type(error).__name__}: {error}.") from error


@lru_cache(maxsize=256)
def _compiled(body: str) -> Template:
    return _ENVIRONMENT.from_string(body)
