"""Reading every source of settings and joining them. The only module that reads `os.environ`."""

from __future__ import annotations

import functools
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from treadle.errors import ConfigError, Problem, nearest
from treadle.settings.keys import (
    BY_ENV,
    BY_FLAG,
    BY_OTHERS,
    KEYS,
    SECTIONS,
    checked,
    kind_of,
    ollama_address,
    parsed,
    unknown,
)
from treadle.settings.mcp import McpServer, read_server, servers_of_json
from treadle.settings.values import FILE, Settings, Variables

_TEST_PREFIX = "TREADLE_TEST_"
"""Variables with this prefix belong to our tests and are no settings."""

_DEBUG = "TREADLE_DEBUG"
_SERVERS = "mcp.servers"
_SECRETS = ("TREADLE_POOL_KEY", "TREADLE_MCP_TOKEN")
"""Variables of ours that are no settings: who needs one asks for it by name, and nobody shows it."""
"""Asks for tracebacks. No setting: it must work when the settings do not."""


def load_settings(
    cwd: Path, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read every source of settings and join them.

    Reads files, writes nothing. A flag is named by `section.key` or by its short name; None means it was not given.

    Args:
        environ: Variables to read instead of the process's own.

    Raises:
        ConfigError: Sources have unknown keys, values of the wrong type or out of bounds, or cannot be read. Tells all.
    """
    settings, problems = read_settings(cwd, flags, environ)
    if problems:
        raise ConfigError.of(problems)
    return settings


def read_settings(
    cwd: Path, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Settings, list[Problem]]:
    """Do as `load_settings`, but leave out what is wrong, and tell it."""
    env = dict(os.environ if environ is None else environ)
    project = find_project(cwd)
    problems: list[Problem] = []
    file = project / ".env"
    dotenv = _read_dotenv(file, problems)
    values = _from_toml(_user_file(env), problems)
    of_user = values.pop(_SERVERS, None)
    ours = {**_from_toml(project / FILE, problems), **_from_variables(dotenv, str(file), problems, project)}
    of_project = ours.pop(_SERVERS, None)
    values.update(_without_personal(ours, problems))
    values.update(_from_variables(env, "the environment", problems))
    values.update(_from_flags(flags or {}, problems))
    _fill_servers(values, of_user, of_project, project, problems)
    _fill_places(values, project, env)
    _fill_key(values, {**dotenv, **env})
    return _join(project, values, Variables(env, dotenv, str(file))), problems


def settings_files(settings: Settings) -> list[Path]:
    """The files that settings are read from, as far as they are there."""
    user = _user_file(os.environ)
    return [file for file in (user, settings.project / FILE, settings.project / ".env") if file.is_file()]


def check_settings_file(path: Path) -> list[Problem]:
    """What is wrong with a `treadle.toml` or a `.env`, wherever it lies."""
    problems: list[Problem] = []
    if path.suffix == ".toml":
        _from_toml(path, problems)
    else:
        _from_variables(_read_dotenv(path, problems), str(path), problems, path.parent)
    return problems


def find_project(cwd: Path) -> Path:
    """Find the project that `cwd` lies in: the nearest folder upwards with `.treadle` or `treadle.toml`,
    else the root of the git repository, else `cwd` itself."""
    start = cwd.resolve()
    upwards = (start, *start.parents)
    for folder in upwards:
        if (folder / ".treadle").is_dir() or (folder / FILE).is_file():
            return folder
    return next((folder for folder in upwards if (folder / ".git").exists()), start)


def is_debugging() -> bool:
    """Tell whether the user wants tracebacks with errors."""
    return bool(os.environ.get(_DEBUG))


def wants_no_color() -> bool:
    """Tell whether the environment forbids colours (no-color.org, or a terminal that has none)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Copy this process's variables for a child that we trust as ourselves, with `extra` on top."""
    return {**os.environ, **(extra or {})}


def _user_file(env: Mapping[str, str]) -> Path:
    return _home(env, "XDG_CONFIG_HOME", ".config") / "treadle" / FILE


def _home(env: Mapping[str, str], variable: str, default: str) -> Path:
    given = env.get(variable, "")
    # The XDG specification says that a relative path is to be ignored.
    if given and Path(given).is_absolute():
        return Path(given)
    return Path(env.get("HOME") or Path.home()) / default


@contextmanager
def _collecting(problems: list[Problem], line: int = 0) -> Iterator[None]:
    """Keep what is wrong with one value, so that all can be told together."""
    try:
        yield
    except ConfigError as error:
        problems += [replace(problem, line=line) for problem in error.problems]


def _from_toml(path: Path, problems: list[Problem]) -> dict[str, tuple[object, str]]:
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as exc:
        problems.append(Problem(f"{path} is not TOML: {exc}."))
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        problems.append(Problem(f"{path} cannot be read: {exc}."))
        return {}
    found: dict[str, tuple[object, str]] = {}
    for section, table in tables.items():
        with _collecting(problems, _line_of(text, section)):
            if section not in SECTIONS:
                raise unknown("section", section, SECTIONS, str(path))
            if not isinstance(table, dict):
                what = f"{section!r} is {kind_of(table)}; a section is expected."
                raise ConfigError.of([Problem(what, f"Write [{section}].", str(path))])
        for name, value in table.items() if section in SECTIONS and isinstance(table, dict) else ():
            if f"{section}.{name}" == _SERVERS:
                found[_SERVERS] = (_servers_of(value, text, str(path), problems), str(path))
                continue
            with _collecting(problems, _line_of(text, section, name)):
                key = KEYS.get(f"{section}.{name}")
                if key is None:
                    known = [k.name for k in KEYS.values() if k.section == section]
                    what = f"there is no setting {name!r} in section [{section}]."
                    raise ConfigError.of([Problem(what, nearest(name, known), str(path))])
                found[key.path] = (checked(key, value, str(path), path.parent), str(path))
    return found


def _servers_of(tables: Any, text: str, file: str, problems: list[Problem]) -> dict[str, McpServer]:
    if not isinstance(tables, dict):
        problems.append(Problem("mcp.servers is no section.", "Write [mcp.servers.NAME].", file))
        return {}
    servers = {}
    for name, table in tables.items():
        at = f"mcp.servers.{name}"
        lines = functools.partial(_line_of, text, at)
        server = read_server(name, table, file, lambda key, lines=lines: lines(key) or lines(), problems)  # type: ignore[misc]
        if server is not None:
            servers[name] = server
    return servers


def _fill_servers(
    values: dict[str, tuple[object, str]],
    of_user: tuple[object, str] | None,
    of_project: tuple[object, str] | None,
    project: Path,
    problems: list[Problem],
) -> None:
    """Join the servers of all files: the user's, those of the file that is named, those of the project."""
    found: dict[str, McpServer] = {}
    for given, is_of_user in ((of_user, True), (_of_named_file(values, project, problems), None), (of_project, False)):
        servers = cast("dict[str, McpServer]", given[0]) if given else {}
        for name, server in servers.items():
            found[name] = server if is_of_user is None else replace(server, is_of_user=is_of_user)
    if found:
        values[_SERVERS] = (found, "")


def _of_named_file(
    values: Mapping[str, tuple[object, str]], project: Path, problems: list[Problem]
) -> tuple[object, str] | None:
    file, where = values.get("mcp.file", (Path(), ""))
    if file == Path():
        return None
    is_of_user = not where.endswith((str(project / FILE), str(project / ".env")))
    servers = servers_of_json(cast("Path", file), problems)
    return {name: replace(server, is_of_user=is_of_user) for name, server in servers.items()}, where


def _line_of(text: str, section: str, name: str = "") -> int:
    """The line of a key in TOML as people write it; 0 if it is written otherwise."""
    at = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            at = header[1]
            if at == section and not name:
                return number
        elif at == section and name and re.match(rf"\s*{re.escape(name)}\s*=", line):
            return number
    return 0


def _from_variables(
    source: Mapping[str, str], where: str, problems: list[Problem], folder: Path | None = None
) -> dict[str, tuple[object, str]]:
    """Read variables; paths among them are relative to the folder."""
    found: dict[str, tuple[object, str]] = {}
    with _collecting(problems):
        if host := source.get("OLLAMA_HOST", ""):
            found["model.ollama_url"] = (ollama_address(host), f"OLLAMA_HOST in {where}")
    no_settings = (_TEST_PREFIX, _DEBUG, *_SECRETS)
    ours = [name for name in source if name.startswith("TREADLE_") and not name.startswith(no_settings)]
    for name in [*BY_OTHERS, *ours]:
        text = source.get(name, "")
        if text:
            with _collecting(problems):
                key = BY_OTHERS.get(name) or BY_ENV.get(name)
                if key is None:
                    raise unknown("variable", name, BY_ENV, where)
                found[key.path] = (
                    checked(key, parsed(key, text), f"{name} in {where}", folder),
                    f"{name} in {where}",
                )
    return found


def _from_flags(flags: Mapping[str, object], problems: list[Problem]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, value in flags.items():
        with _collecting(problems):
            key = BY_FLAG.get(name)
            if key is None:
                raise unknown("flag", name, BY_FLAG, "the command line")
            if value is not None:
                where = f"the flag --{(key.flag or key.path).replace('_', '-')}"
                given = parsed(key, value) if isinstance(value, str) else value
                found[key.path] = (checked(key, given, where), where)
    return found


def _without_personal(
    values: Mapping[str, tuple[object, str]], problems: list[Problem]
) -> dict[str, tuple[object, str]]:
    """Leave out what the files of a project may not give, and tell it."""
    kept = {}
    for path, (value, where) in values.items():
        personal = KEYS[path].personal
        if personal in ("*", value) and personal:
            shown = list(value) if isinstance(value, tuple) else value
            what = f"a project may not set {path} to {shown!r}, because a cloned repository could."
            flag = f"as the flag --{KEYS[path].flag.replace('_', '-')}, " if KEYS[path].flag else ""
            hint = f"Give it {flag}as {KEYS[path].env} in the environment, or in your own {FILE} (~/.config/treadle/)."
            problems.append(Problem(what, hint, where))
        else:
            kept[path] = (value, where)
    return kept


def _read_dotenv(path: Path, problems: list[Problem]) -> dict[str, str]:
    """Read `KEY=value` lines. The file is the project's own: what is not for us is left alone."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        problems.append(Problem(f"{path} cannot be read: {why}."))
        return {}
    found: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = value.partition(" #")[0].rstrip()
        found[name.strip()] = value
    return found


def _fill_places(values: dict[str, tuple[object, str]], project: Path, env: Mapping[str, str]) -> None:
    """Put in the defaults that depend on the user's folders and on the project."""
    cache = _home(env, "XDG_CACHE_HOME", ".cache") / "treadle"
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_absolute() and os.access(runtime, os.W_OK | os.X_OK):
        run_dir = Path(runtime) / "treadle"
    else:
        # A home may be shared by machines; a host on another machine is of no use here.
        run_dir = cache / f"run-{socket.gethostname()}"
    values.setdefault("model.cache_dir", (cache / "models", ""))
    values.setdefault("model.runtime_dir", (run_dir, ""))
    values.setdefault("store.url", (f"sqlite:///{project / '.treadle' / 'treadle.db'}", ""))


def _fill_key(values: dict[str, tuple[object, str]], variables: Mapping[str, str]) -> None:
    """Read the key from the variable that is named for it. OPENAI_API_KEY goes to api.openai.com and nowhere else."""
    name = str(values.get("model.openai_api_key_env", ("", ""))[0])
    base_url = str(values.get("model.openai_base_url", ("", ""))[0])
    if not name and urlsplit(base_url).hostname == "api.openai.com":
        name = "OPENAI_API_KEY"
        values["model.openai_api_key_env"] = (name, "")
    if name:
        values["model.openai_api_key"] = (variables.get(name, ""), "")


def _join(project: Path, values: Mapping[str, tuple[object, str]], variables: Variables) -> Settings:
    parts: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        given = {path.split(".")[1]: value for path, (value, _) in values.items() if path.split(".")[0] == section}
        parts[section] = kind(**given)
    origins = {path: where for path, (_, where) in values.items() if where}
    return Settings(project=project, origins=origins, variables=variables, **parts)
