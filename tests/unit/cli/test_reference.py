"""The reference page names every command and every option, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from treadle.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()


def commands(command: Any, path: str = "treadle") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")


ALL = dict(commands(typer.main.get_command(app)))


def test_every_command_is_on_the_page() -> None:
    words = set(re.findall(r"[a-z-]+", PAGE))
    assert not [path for path in ALL if not set(path.split()) <= words]


def test_every_option_is_on_the_page_and_exists() -> None:
    options = {name for command in ALL.values() for parameter in command.params for name in parameter.opts}
    options = {name for name in options if name.startswith("-")} | {"--help", "-h"}
    named = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*|-V)(?![\w])", PAGE)) - {"-9", "--verb"}
    assert options - named == set(), "not on the page"
    assert {name for name in named if name.startswith("--")} - options == set(), "no such option"


def test_every_command_says_what_it_does() -> None:
    assert not [path for path, command in ALL.items() if not command.help]
