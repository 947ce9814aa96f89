"""`treadle prompts`: what models are asked, and what of it is yours."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from treadle.cli import output, session
from treadle.cli.look import JSON
from treadle.errors import UsageError

if TYPE_CHECKING:
    from treadle.agents.prompt import Prompt, Prompts

NAME = typer.Argument(..., metavar="NAME")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(help="What models are asked: list, show, render, diff.", no_args_is_help=True)
    group.command("list")(list_prompts)
    group.command("show")(show)
    group.command("render")(render)
    group.command("diff")(diff)
    app.add_typer(group, name="prompts")


def _prompts() -> Prompts:
    from treadle.services.prompts import load_prompts

    return load_prompts(session.settings_of())


def list_prompts(json: bool = JSON) -> None:
    """List the prompts, and say which are your own."""
    prompts = _prompts()
    found = [prompts[name] for name in sorted(prompts.by_name)]
    if json:
        for prompt in found:
            output.data_json(_facts(prompts, prompt))
        return
    rows = [
        (prompt.name, prompt.version, _origin(prompts, prompt), ", ".join(prompt.inputs), prompt.description)
        for prompt in found
    ]
    output.table(("NAME", "VERSION", "FROM", "INPUTS", "ABOUT"), rows)


def show(name: str = NAME, json: bool = JSON) -> None:
    """Print a prompt's file, front matter and all."""
    prompts = _prompts()
    prompt = prompts[name]
    if json:
        output.data_json({**_facts(prompts, prompt), "output": prompt.output, "body": prompt.body})
        return
    output.note(str(prompt.file))
    output.data(prompt.file.read_text("utf-8").rstrip("\n"))


def render(
    name: str = NAME,
    inputs: list[str] | None = typer.Option(
        None, "--input", "-i", metavar="K=V|JSON", help="An input, or a JSON object of several; - reads it from stdin."
    ),
) -> None:
    """Print what a model would be asked.

    Every input has to be given, and no other.
    """
    values: dict[str, Any] = {}
    for text in inputs or ():
        values |= _values(text)
    output.data(_prompts()[name].render(**values))


def diff(name: str = NAME) -> None:
    """Compare a prompt of yours with the shipped one that it replaces."""
    from treadle.services.prompts import difference

    prompts = _prompts()
    found = difference(prompts, name)
    if found:
        output.data(found)
    elif prompts[name] is prompts.shipped[name]:
        output.note(f"{name} is the shipped one; {_how(name)}")
    else:
        output.note(f"{prompts[name].file} says the same as the shipped one.")


def _how(name: str) -> str:
    return f"to change it, put a copy into .treadle/prompts: treadle prompts show {name} > .treadle/prompts/{name}.md"


def _values(text: str) -> dict[str, Any]:
    """Read `key=value`, or a JSON object."""
    if text == "-":
        text = sys.stdin.read()
    elif "=" in text and not text.lstrip().startswith("{"):
        key, _, value = text.partition("=")
        return {key.strip(): value}
    try:
        found = jsonlib.loads(text)
    except ValueError as error:
        raise UsageError(f"--input {text[:60]!r} is neither KEY=VALUE nor JSON: {error}.") from error
    if not isinstance(found, dict):
        raise UsageError(f"--input is {_kind(found)} of JSON; an object is expected.", hint='Write {"goal": "..."}.')
    return found


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")


def _origin(prompts: Prompts, prompt: Prompt) -> str:
    if prompts.shipped.get(prompt.name) is prompt:
        return "shipped"
    return "yours" if prompt.name not in prompts.shipped else "yours, replaces"


def _facts(prompts: Prompts, prompt: Prompt) -> dict[str, Any]:
    inputs: Sequence[str] = prompt.inputs
    return {
        "name": prompt.name,
        "version": prompt.version,
        "description": prompt.description,
        "inputs": inputs,
        "tiers": prompt.tiers,
        "digest": prompt.digest,
        "file": str(prompt.file),
        "shipped": prompts.shipped.get(prompt.name) is prompt,
    }
