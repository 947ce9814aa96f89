"""What a server may have: variables put in, and nothing of the user's for servers that merely lie in the project.

A cloned repository is not the user. A server that its files describe runs in the sandbox, without network and without
the user's variables, until the user says that the project is trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError
from treadle.settings import McpServer, Settings

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_WITH_REFERENCES = ("command", "args", "env", "cwd", "url", "headers", "reads")
_TRUST = (
    "Write it into your own treadle.toml instead (~/.config/treadle/), or say there, or as TREADLE_MCP_TRUSTED in the "
    "environment, that you trust this project: [mcp] trusted = [{!r}]"
)


def obstacle(server: McpServer, settings: Settings) -> str:
    """Why a server cannot be used as it is written down, in words; empty if it can."""
    wants = "" if _is_trusted(server, settings) else _wants_too_much(server, settings)
    if wants:
        return f"a project may not give a server {wants}, because a cloned repository could"
    missing = [name for name in _names_in(server) if not settings.variables.get(name)]
    return f"{', '.join(dict.fromkeys(missing))} is not set" if missing else ""


def ready(server: McpServer, settings: Settings) -> McpServer:
    """The server with its variables put in, and its token among the headers. Never shown.

    Raises:
        ConfigError: It cannot be used as it is written down. Names variables only.
    """
    why = obstacle(server, settings)
    if why:
        hint = _TRUST.format(str(settings.project)) if "cloned" in why else "Set it, or put it into the project's .env."
        where = f" of {server.file}" if server.file else ""
        raise ConfigError(f"The MCP server {server.name!r}{where} cannot be used: {why}.", hint=hint)
    get = settings.variables.get
    filled = replace(server, **{key: _filled(getattr(server, key), get) for key in _WITH_REFERENCES})
    if server.token_env:
        headers = {**filled.headers, "Authorization": f"Bearer {get(server.token_env)}"}
        filled = replace(filled, headers=headers)
    reads = tuple(str(Path(path).expanduser()) for path in filled.reads)
    return replace(filled, reads=reads)


def secrets_of(server: McpServer, settings: Settings) -> list[str]:
    """The values of its variables that are long enough to be secrets, for taking them out of what is shown."""
    names = {name for text in _texts_of(server) for name, _ in _REFERENCE.findall(text)} | {server.token_env} - {""}
    return sorted((value for name in names if len(value := settings.variables.get(name)) >= 6), key=len, reverse=True)


def _is_trusted(server: McpServer, settings: Settings) -> bool:
    if server.is_of_user or "*" in settings.mcp.trusted:
        return True
    return any(Path(folder).expanduser().resolve() == settings.project for folder in settings.mcp.trusted)


def _wants_too_much(server: McpServer, settings: Settings) -> str:
    if server.sandbox == "none":
        return "a way around the sandbox"
    if server.reads:
        return "files outside the workspace"
    if server.url or server.allow_hosts:
        return "the network"
    named = {name for text in _texts_of(server) for name, _ in _REFERENCE.findall(text)}
    of_user = sorted(n for n in named if settings.variables.get(n) and not settings.variables.is_of_project(n))
    return f"variables of your environment ({', '.join(of_user)})" if of_user else ""


def _names_in(server: McpServer) -> Iterator[str]:
    """Variables that it cannot do without."""
    for text in _texts_of(server):
        yield from (name for name, default in _REFERENCE.findall(text) if f"${{{name}:-" not in text)
    if server.token_env:
        yield server.token_env


def _texts_of(server: McpServer) -> Iterator[str]:
    for key in _WITH_REFERENCES:
        value = getattr(server, key)
        yield from value.values() if isinstance(value, Mapping) else [value] if isinstance(value, str) else value


def _filled(value: Any, get: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(inner, get) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_filled(inner, get) for inner in value)
    return _REFERENCE.sub(lambda match: get(match[1]) or match[2] or "", value)
