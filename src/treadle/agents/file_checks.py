"""Looking at a single file without running it: does it parse? By its ending, with the tools that the sandbox has."""

from __future__ import annotations

import ast
import configparser
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from treadle.agents.desk import Desk
from treadle.agents.trial import essence
from treadle.errors import ConfigError
from treadle.models.inventory.yaml_tree import parse_yaml

_TOOLS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    ".c": (("gcc", "-fsyntax-only", "-Wall", "-std=c11"), ("cc", "-fsyntax-only"), ("clang", "-fsyntax-only")),
    ".h": (("gcc", "-fsyntax-only", "-Wall", "-std=c11", "-x", "c"), ("cc", "-fsyntax-only", "-x", "c")),
    ".cpp": (("g++", "-fsyntax-only", "-Wall"), ("clang++", "-fsyntax-only")),
    ".sh": (("sh", "-n"),),
    ".js": (("node", "--check"),),
}
_LACKING = re.compile(r"fatal error: (\S+): No such file")
"""A header of the device's vendor."""
_NOT_FOUND = (126, 127)


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of it."""

    problem: str = ""
    said: str = ""
    """What was looked at, or that nothing was."""


async def check_file(desk: Desk, key: str, path: str, files: Mapping[str, str]) -> Checked:
    """Check one of some files. Tools of the sandbox are run once per key; where one is missing, that is said."""
    ending = path[path.rfind(".") :] if "." in path.rpartition("/")[2] else ""
    text = files[path]
    if not text.strip():
        return Checked(f"{path} is empty.")
    if ending in _PARSERS:
        problem = _parsed(text, _PARSERS[ending])
        return Checked(f"{path}: {problem}" if problem else "", f"{path} parses")
    for number, tool in enumerate(_TOOLS.get(ending, ())):
        done = await desk.run(f"{key}.{number}", files, *tool, f"./{path}")
        if done.exit_code in _NOT_FOUND:
            continue
        if done.exit_code == 0:
            return Checked("", f"{path} passes `{' '.join(tool[:2])}`")
        lacking = _LACKING.search(done.stderr)
        if lacking and lacking[1].rpartition("/")[2] not in {name.rpartition("/")[2] for name in files}:
            return Checked("", f"{path} was not checked: {lacking[1]} is not here")
        return Checked(f"{path}: {essence(done.stderr or done.stdout)}")
    wanted = " or ".join(tool[0] for tool in _TOOLS.get(ending, ()))
    return Checked("", f"{path} was not checked: {f'there is no {wanted} here' if wanted else 'nothing reads it'}")


def _parsed(text: str, parser: Callable[[str], object]) -> str:
    try:
        parser(text)
    except (ValueError, SyntaxError, RecursionError, configparser.Error, ConfigError) as error:
        return " ".join(str(error).split())[:300]
    return ""


def _yaml(text: str) -> None:
    problems: list[object] = []
    parse_yaml(text, "", problems)  # type: ignore[arg-type]
    if problems:
        raise ValueError(str(problems[0]))


def _csv(text: str) -> None:
    widths = {line.count(",") for line in text.splitlines() if line.strip() and '"' not in line}
    if len(widths) > 1:
        raise ValueError("its rows have different numbers of columns")


_PARSERS: Mapping[str, Callable[[str], object]] = {
    ".py": ast.parse,
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".csv": _csv,
    ".ini": lambda text: configparser.ConfigParser().read_string(text),
}


def code_of(answer: str, path: str) -> str:
    """The file out of an answer: the longest fenced block; of a file that is prose, everything if nothing is fenced."""
    blocks = re.findall(r"^(?:```|~~~)[^\n]*\n(.*?)(?:^(?:```|~~~)[ \t]*$|\Z)", answer, re.MULTILINE | re.DOTALL)
    text = max(blocks, key=len) if blocks else answer
    return str(text).strip("\n") + "\n"
