"""What the user has configured, as frozen values. The only module that reads `os.environ`.

Precedence: flag > environment (`TREADLE_*`) > `.env` of the project > the project's `treadle.toml` >
the user's `treadle.toml` > what is shipped. What a setting does belongs to the module that uses it, not here.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from treadle.errors import ConfigError, UnknownName

Provider = Literal["auto", "embedded", "ollama", "openai"]
Backend = Literal["auto", "bubblewrap", "landlock", "none"]

_FILE = "treadle.toml"
_TEST_PREFIX = "TREADLE_TEST_"
"""Variables with this prefix belong to our tests and are no settings."""

_DEBUG = "TREADLE_DEBUG"
"""Asks for tracebacks. No setting: it must work when the settings do not."""


def _about(
    env: str = "", flag: str = "", low: float | None = None, high: float | None = None, personal: str = ""
) -> dict[str, object]:
    """Describe a setting: its variable and flag where they differ from the rule, its bounds.

    `personal` is a value (`*`: any) that files of the project may not give, for a cloned repository is not the user.
    """
    return {"env": env, "flag": flag, "low": low, "high": high, "personal": personal}


def _default_threads() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, usable - 1)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model answers, and how a model on this machine is hosted."""

    model: str = field(default="", metadata=_about(env="TREADLE_MODEL", flag="model"))
    """Name in the catalogue, path of a GGUF file, or a name that the provider knows. Empty: chosen for the user."""
    provider: Provider = field(default="auto", metadata=_about(env="TREADLE_PROVIDER", flag="provider"))
    cache_dir: Path = field(default=Path(), metadata=_about(env="TREADLE_MODELS_DIR", flag="models_dir"))
    """Folder of the model files. Default: `treadle/models` in the user's cache folder."""
    runtime_dir: Path = field(default=Path(), metadata=_about(env="TREADLE_RUNTIME_DIR", personal="*"))
    """Folder where the model host of this user is found. Default: `treadle` in `XDG_RUNTIME_DIR`."""
    threads: int = field(default_factory=_default_threads, metadata=_about(low=1, high=1024))
    """Processor threads of the embedded model. Default: one fewer than this process may use, at least one."""
    context: int = field(default=8192, metadata=_about(low=256, high=1_048_576))
    """Tokens, prompt and answer together, that each request may have."""
    parallel: int = field(default=2, metadata=_about(low=1, high=64))
    """Requests that the embedded model answers at the same time. Each slot costs memory for `context` tokens."""
    idle_seconds: float = field(default=300.0, metadata=_about(low=1))
    """The embedded model is unloaded after this many seconds without a request."""
    load_seconds: float = field(default=180.0, metadata=_about(low=1))
    """How long the embedded model may take to load."""
    first_token_seconds: float = field(default=900.0, metadata=_about(low=1))
    """How long a server may think before the first piece of an answer (queueing and reading the prompt)."""
    stall_seconds: float = field(default=120.0, metadata=_about(low=1))
    """How long a server may be silent in the middle of an answer."""
    ollama_url: str = field(default="http://127.0.0.1:11434", metadata=_about(env="TREADLE_OLLAMA_URL"))
    """Where Ollama is. `OLLAMA_HOST` is honoured too."""
    openai_base_url: str = field(default="", metadata=_about(env="TREADLE_OPENAI_BASE_URL"))
    """An OpenAI-compatible server. Never chosen unless the provider is configured to be `openai`."""
    openai_api_key_env: str = field(default="", metadata=_about(env="TREADLE_OPENAI_API_KEY_ENV", personal="*"))
    """Name of the variable that holds the key. Default: `OPENAI_API_KEY` for api.openai.com only, else none."""
    openai_api_key: str = field(default="", repr=False, metadata={"hidden": True})
    """The key itself; read from that variable, never from a file that is shared, never shown."""


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Where generated code may run, and how much of the machine it may use."""

    backend: Backend = field(default="auto", metadata=_about(env="TREADLE_SANDBOX", flag="sandbox", personal="none"))
    memory_mb: int = field(default=1024, metadata=_about(low=16))
    """Megabytes (2**20 bytes) of memory."""
    wall_seconds: float = field(default=60.0, metadata=_about(low=1))
    """Seconds by the clock until a command is stopped."""
    processes: int = field(default=64, metadata=_about(low=1))
    """Processes and threads at the same time."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where runs are kept."""

    url: str = field(default="", metadata=_about(env="TREADLE_STORE_URL", flag="store"))
    """Default: `sqlite:///<project>/.treadle/treadle.db`."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How much a build may spend."""

    budget_tokens: int = field(default=200_000, metadata=_about(flag="budget_tokens", low=1))
    """Tokens of input and output together."""
    max_rounds: int = field(default=4, metadata=_about(flag="max_rounds", low=1, high=100))
    """Attempts at one task: the first answer and its repairs."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one process, and where each that was configured came from."""

    project: Path
    """Folder of the project: see `find_project`."""
    model: ModelSettings = field(default_factory=ModelSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    build: BuildSettings = field(default_factory=BuildSettings)
    origins: Mapping[str, str] = field(default_factory=dict)
    """`section.key` to where its value was given, in words: `the flag --model`, `TREADLE_MODEL in the environment`."""


@dataclass(frozen=True, slots=True)
class _Key:
    section: str
    name: str
    kind: Any
    env: str
    flag: str
    low: float | None
    high: float | None
    personal: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"


_SECTIONS: dict[str, type[Any]] = {
    "model": ModelSettings,
    "sandbox": SandboxSettings,
    "store": StoreSettings,
    "build": BuildSettings,
}


def load_settings(
    cwd: Path, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Read every source of settings and join them.

    Reads files, writes nothing. A flag is named by `section.key` or by its short name; None means it was not given.

    Args:
        environ: Variables to read instead of the process's own.

    Raises:
        ConfigError: A source has an unknown key, a value of the wrong type or out of bounds, or cannot be read.
    """
    env = dict(os.environ if environ is None else environ)
    project = find_project(cwd)
    dotenv = _read_dotenv(project / ".env")
    values: dict[str, tuple[object, str]] = _from_toml(_user_file(env))
    ours = {**_from_toml(project / _FILE), **_from_variables(dotenv, str(project / ".env"))}
    _refuse_personal(ours)
    values.update(ours)
    values.update(_from_variables(env, "the environment"))
    values.update(_from_flags(flags or {}))
    _fill_places(values, project, env)
    _fill_key(values, {**dotenv, **env})
    return _join(project, values)


def find_project(cwd: Path) -> Path:
    """Find the project that `cwd` lies in: the nearest folder upwards with `.treadle` or `treadle.toml`,
    else the root of the git repository, else `cwd` itself."""
    start = cwd.resolve()
    upwards = (start, *start.parents)
    for folder in upwards:
        if (folder / ".treadle").is_dir() or (folder / _FILE).is_file():
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


def _keys() -> Iterator[_Key]:
    for section, kind in _SECTIONS.items():
        hints = get_type_hints(kind)
        for item in fields(kind):
            meta = item.metadata
            if not meta.get("hidden"):
                env = meta["env"] or f"TREADLE_{section}_{item.name}".upper()
                yield _Key(
                    section, item.name, hints[item.name], env, meta["flag"], meta["low"], meta["high"], meta["personal"]
                )


_KEYS = {key.path: key for key in _keys()}
_BY_ENV = {key.env: key for key in _KEYS.values()}
_BY_FLAG = {**_KEYS, **{key.flag: key for key in _KEYS.values() if key.flag}}


def _user_file(env: Mapping[str, str]) -> Path:
    return _home(env, "XDG_CONFIG_HOME", ".config") / "treadle" / _FILE


def _home(env: Mapping[str, str], variable: str, default: str) -> Path:
    given = env.get(variable, "")
    # The XDG specification says that a relative path is to be ignored.
    if given and Path(given).is_absolute():
        return Path(given)
    return Path(env.get("HOME") or Path.home()) / default


def _from_toml(path: Path) -> dict[str, tuple[object, str]]:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not TOML: {exc}. No setting was read.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}. No setting was read.") from exc
    found: dict[str, tuple[object, str]] = {}
    for section, table in tables.items():
        if section not in _SECTIONS:
            raise _unknown("section", section, _SECTIONS, str(path))
        if not isinstance(table, dict):
            raise ConfigError(
                f"{path}: {section!r} is {_kind_of(table)}; a section is expected.", hint=f"Write [{section}]."
            )
        for name, value in table.items():
            key = _KEYS.get(f"{section}.{name}")
            if key is None:
                known = [k.name for k in _KEYS.values() if k.section == section]
                raise _unknown("setting", name, known, f"{path}, section [{section}]")
            found[key.path] = (_checked(key, value, str(path), path.parent), str(path))
    return found


def _from_variables(source: Mapping[str, str], where: str) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    host = source.get("OLLAMA_HOST", "")
    if host:
        found["model.ollama_url"] = (_ollama_address(host), f"OLLAMA_HOST in {where}")
    for name, text in source.items():
        if not name.startswith("TREADLE_") or name.startswith((_TEST_PREFIX, _DEBUG)) or text == "":
            continue
        key = _BY_ENV.get(name)
        if key is None:
            raise _unknown("variable", name, _BY_ENV, where)
        found[key.path] = (_checked(key, _parsed(key, text), f"{name} in {where}"), f"{name} in {where}")
    return found


def _from_flags(flags: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, value in flags.items():
        key = _BY_FLAG.get(name)
        if key is None:
            raise _unknown("flag", name, _BY_FLAG, "the command line")
        if value is not None:
            where = f"the flag --{(key.flag or key.path).replace('_', '-')}"
            parsed = _parsed(key, value) if isinstance(value, str) else value
            found[key.path] = (_checked(key, parsed, where), where)
    return found


def _refuse_personal(values: Mapping[str, tuple[object, str]]) -> None:
    for path, (value, where) in values.items():
        personal = _KEYS[path].personal
        if personal in ("*", value) and personal:
            raise ConfigError(
                f"{where}: a project may not set {path} to {value!r}, because a cloned repository could. "
                "Nothing was started.",
                hint=f"Give it as a flag, as {_KEYS[path].env} in the environment, or in your own {_FILE}.",
            )


def _ollama_address(host: str) -> str:
    """Read `OLLAMA_HOST` as Ollama does: host, host:port or URL. 0.0.0.0 is where a server listens, not where it is."""
    parts = urlsplit(host if "//" in host else f"http://{host}")
    name = parts.hostname or "127.0.0.1"
    if name in {"0.0.0.0", "::"}:
        name = "127.0.0.1"
    default = {"http": 80, "https": 443}.get(parts.scheme, 11434) if "//" in host else 11434
    try:
        port = parts.port or default
    except ValueError as exc:
        raise ConfigError(f"OLLAMA_HOST is {host!r}, which names no port.", hint="Write HOST:PORT.") from exc
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"


def _parsed(key: _Key, text: str) -> object:
    """Read the text of a variable or flag as what the setting holds; text that does not fit stays text."""
    try:
        return key.kind(text) if key.kind in (int, float) else text
    except ValueError:
        return text


def _checked(key: _Key, value: object, where: str, folder: Path | None = None) -> object:
    """Return the value in the setting's own type, or say what was expected. Paths in a file are relative to it."""
    kind = key.kind
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is Path and isinstance(value, str | Path):
        path = Path(value).expanduser()
        return path if path.is_absolute() else ((folder or Path.cwd()) / path)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise _wrong(key, value, where, " or ".join(get_args(kind)))
    elif not isinstance(value, kind) or isinstance(value, bool):
        raise _wrong(key, value, where, {str: "text", int: "a whole number", float: "a number"}.get(kind, "a path"))
    if isinstance(value, int | float):
        if key.low is not None and not value >= key.low:
            raise _wrong(key, value, where, f"{key.low} or more")
        if key.high is not None and value > key.high:
            raise _wrong(key, value, where, f"{key.high} or less")
    return value


def _wrong(key: _Key, value: object, where: str, expected: str) -> ConfigError:
    return ConfigError(
        f"{where}: {key.path} is {value!r} ({_kind_of(value)}); expected {expected}. Nothing was started."
    )


def _kind_of(value: object) -> str:
    names = {
        bool: "true or false",
        str: "text",
        int: "a whole number",
        float: "a number",
        dict: "a section",
        list: "a list",
    }
    return names.get(type(value), type(value).__name__)


def _unknown(kind: str, name: str, known: object, where: str) -> ConfigError:
    nearest = UnknownName(kind, name, cast("Mapping[str, object]", known))
    return ConfigError(f"{where}: there is no {kind} {name!r}. Nothing was started.", hint=nearest.hint)


def _read_dotenv(path: Path) -> dict[str, str]:
    """Read `KEY=value` lines. The file is the project's own: what is not for us is left alone."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}. No setting was read.") from exc
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


def _join(project: Path, values: Mapping[str, tuple[object, str]]) -> Settings:
    parts: dict[str, Any] = {}
    for section, kind in _SECTIONS.items():
        given = {path.split(".")[1]: value for path, (value, _) in values.items() if path.split(".")[0] == section}
        parts[section] = kind(**given)
    origins = {path: where for path, (_, where) in values.items() if where}
    return Settings(project=project, origins=origins, **parts)
