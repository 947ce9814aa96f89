"""MCP servers as they are written down: `[mcp.servers.NAME]` of a `treadle.toml`, and files with `mcpServers`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from treadle.domain.hosts import AllowList
from treadle.errors import Problem, UsageError, nearest

Approve = Literal["allow", "ask", "deny"]
APPROVALS = ("allow", "ask", "deny")
SERVER_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,30}(?<!_)")
"""No two underscores in a row: they stand between the server and the tool."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES = ("stdio", "http", "streamable-http", "streamableHttp")
_PASSED_OVER = ("type", "description", "disabled")
"""Of the convention, and read by themselves."""
_MAY_BE_SECRET = ("command", "args", "env", "url", "headers", "token_env")
_OF_COMMAND = ("args", "env", "cwd", "sandbox", "workspace", "reads", "allow_hosts")
_OF_URL = ("headers", "token_env")


@dataclass(frozen=True, slots=True)
class McpServer:
    """One server: a command that speaks over its standard input and output, or a URL."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All that its environment holds beside PATH, HOME and LANG."""
    cwd: str = ""
    """Its folder, relative to the workspace."""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    token_env: str = ""
    """Name of the variable with the bearer token."""
    enabled: bool = True
    tools: tuple[str, ...] = ("*",)
    """Which of its tools there are, by the server's own names."""
    approve: Mapping[str, Approve] = field(default_factory=dict)
    """Who agrees to calls, by the server's own names of its tools; `*`: of all others."""
    timeout_seconds: float = 60.0
    """What one call may take."""
    start_seconds: float = 30.0
    """What starting it, or connecting to it, may take."""
    sandbox: Literal["", "none"] = ""
    """`none`: it runs as you, with your files and your network. Empty: in the sandbox that is configured."""
    workspace: bool = True
    """The files that the agent works on are its folder."""
    reads: tuple[str, ...] = ()
    """Paths of this machine that it may read beside the system's programs."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that it may reach from within the sandbox."""
    file: str = ""
    line: int = 0
    is_of_user: bool = False
    """It was written by the user, and not by a file of the project."""

    def approval(self, tool: str) -> Approve:
        """Who agrees to calls of a tool, by the server's own name for it."""
        return self.approve.get(tool) or self.approve.get("*") or "allow"

    def has(self, tool: str) -> bool:
        """Tell whether a tool of the server is among those that are wanted."""
        return "*" in self.tools or tool in self.tools


Lines = Callable[[str], int]
"""The line of a key of a server, or with the empty key of the server itself; 0 if it is not known."""


def read_server(name: str, table: Any, file: str, lines: Lines, problems: list[Problem]) -> McpServer | None:
    """Read one server. What is wrong is told, and then there is no server."""

    def wrong(what: str, hint: str = "", key: str = "") -> None:
        problems.append(Problem(what, hint, file, lines(key), f"mcp.servers.{name}{'.' if key else ''}{key}"))

    if not SERVER_NAME.fullmatch(name):
        wrong(f"{name!r} cannot be a server's name.", "Use at most 31 letters, digits, hyphens and single underscores.")
        return None
    if not isinstance(table, Mapping):
        wrong("a section is expected.", f"Write [mcp.servers.{name}].")
        return None
    before = len(problems)
    values: dict[str, Any] = {}
    for key, value in table.items():
        read = _READ.get(key)
        if read is not None:
            try:
                values[key] = read(value)
            except ValueError as error:
                shown = "it cannot be used" if key in _MAY_BE_SECRET else f"it is {value!r}"
                wrong(f"{shown}; expected {error}.", key=key)
        elif key not in _PASSED_OVER:
            wrong("there is no such setting of a server.", nearest(key, _READ), key)
    if table.get("type", "stdio") not in _TYPES:
        wrong(f"there is no way {table['type']!r} to reach a server.", f"Known: {', '.join(_TYPES)}.", "type")
    if len(problems) == before:
        _check_kind(values, wrong)
    if len(problems) > before:
        return None
    server = McpServer(name, **values, file=file, line=lines(""))
    return replace(server, enabled=False) if table.get("disabled") is True else server


def servers_of_json(file: Path, problems: list[Problem]) -> dict[str, McpServer]:
    """Read a file of the `mcpServers` convention. Settings of other programs in it are passed over."""
    try:
        text = file.read_text("utf-8")
        found = json.loads(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is no JSON: {error}"
        problems.append(Problem(f"{file} cannot be read: {why}.", "Or take it out of [mcp] file."))
        return {}
    tables = found.get("mcpServers") if isinstance(found, dict) else None
    if not isinstance(tables, dict):
        problems.append(Problem("it has no mcpServers.", 'Write {"mcpServers": {"NAME": {...}}}.', str(file)))
        return {}
    servers = {}
    for name, table in tables.items():
        ours = {k: v for k, v in table.items() if k in (*_READ, *_PASSED_OVER)} if isinstance(table, dict) else table
        line = next((n for n, row in enumerate(text.splitlines(), 1) if f'"{name}"' in row), 0)
        server = read_server(name, ours, str(file), lambda _, at=line: at, problems)  # type: ignore[misc]
        if server is not None:
            servers[name] = server
    return servers


def _check_kind(values: Mapping[str, Any], wrong: Callable[..., None]) -> None:
    if bool(values.get("command")) == bool(values.get("url")):
        wrong("it needs either a command or a url.", 'Write command = "..." with args, or url = "https://.../mcp".')
        return
    kind, others = ("url", _OF_COMMAND) if values.get("url") else ("command", _OF_URL)
    for key in others:
        if key in values:
            wrong(f"a server with a {kind} has no such setting.", key=key)
    if values.get("reads") and any("${" not in path and not path.startswith(("/", "~")) for path in values["reads"]):
        wrong("paths that it may read are whole paths.", 'Begin them with "/" or "~".', "reads")
    if values.get("sandbox") == "none" and values.get("allow_hosts"):
        wrong("without a sandbox it reaches every host.", "Leave out one of the two.", "allow_hosts")


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) and "\0" not in one for one in value):
        raise ValueError('a list of texts, such as ["a", "b"]')
    return tuple(value)


def _hosts(value: Any) -> tuple[str, ...]:
    texts = _texts(value)
    try:
        AllowList.of(texts)
    except UsageError as error:
        raise ValueError(f"names of hosts: {error}") from None
    return texts


def _text_by_name(value: Any) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(one, str) and "\0" not in one for one in value.values()):
        raise ValueError("a section of texts")
    return dict(value)


def _variable(value: Any) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError("the name of a variable, never the secret itself")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("a number of seconds")
    return float(value)


def _none(value: Any) -> Literal["none"]:
    if value != "none":
        raise ValueError('"none", or nothing for the sandbox that is configured')
    return "none"


def _url(value: Any) -> str:
    parts = urlsplit(_text(value))
    if parts.scheme not in ("http", "https") or not (parts.hostname or "${" in value):
        raise ValueError("an address that begins with https:// or http://")
    if parts.username or parts.password:
        raise ValueError("an address without a password; name the variable of a token as token_env")
    return str(value)


def _approvals(value: Any) -> Mapping[str, Approve]:
    given = {"*": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not all(how in APPROVALS for how in given.values()):
        raise ValueError('"allow", "ask" or "deny", or one of them by tool: {"*" = "ask", read = "allow"}')
    return cast("Mapping[str, Approve]", dict(given))


_READ: dict[str, Callable[[Any], Any]] = {
    "command": _text,
    "args": _texts,
    "env": _text_by_name,
    "cwd": _text,
    "url": _url,
    "headers": _text_by_name,
    "token_env": _variable,
    "enabled": _yes_or_no,
    "tools": _texts,
    "approve": _approvals,
    "timeout_seconds": _seconds,
    "start_seconds": _seconds,
    "sandbox": _none,
    "workspace": _yes_or_no,
    "reads": _texts,
    "allow_hosts": _hosts,
}
