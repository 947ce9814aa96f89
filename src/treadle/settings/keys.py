"""Each setting by path, variable and flag, and whether a value is one that it may have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from treadle.domain.hosts import AllowList
from treadle.errors import ConfigError, Problem, UsageError, nearest
from treadle.settings.values import (
    BuildSettings,
    InventorySettings,
    McpSettings,
    ModelSettings,
    PromptSettings,
    SandboxSettings,
    StoreSettings,
    ToolSettings,
)


@dataclass(frozen=True, slots=True)
class Key:
    section: str
    name: str
    kind: Any
    env: str
    flag: str
    low: float | None
    high: float | None
    personal: str
    also: str
    hosts: bool

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"


SECTIONS: dict[str, type[Any]] = {
    "model": ModelSettings,
    "sandbox": SandboxSettings,
    "store": StoreSettings,
    "build": BuildSettings,
    "inventory": InventorySettings,
    "prompts": PromptSettings,
    "tools": ToolSettings,
    "mcp": McpSettings,
}


def _keys() -> Iterator[Key]:
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind)
        for item in fields(kind):
            meta = item.metadata
            if not meta.get("hidden"):
                env = meta["env"] or f"TREADLE_{section}_{item.name}".upper()
                about = {name: meta[name] for name in ("flag", "low", "high", "personal", "also", "hosts")}
                yield Key(section, item.name, hints[item.name], env, **about)


KEYS = {key.path: key for key in _keys()}
BY_ENV = {key.env: key for key in KEYS.values()}
BY_OTHERS = {key.also: key for key in KEYS.values() if key.also}
BY_FLAG = {**KEYS, **{key.flag: key for key in KEYS.values() if key.flag}}


def ollama_address(host: str) -> str:
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


def parsed(key: Key, text: str) -> object:
    """Read the text of a variable or flag as what the setting holds; text that does not fit stays text."""
    if get_origin(key.kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return key.kind(text) if key.kind in (int, float) else text
    except ValueError:
        return text


def checked(key: Key, value: object, where: str, folder: Path | None = None) -> object:
    """Return the value in the setting's own type, or say what was expected. Paths in a file are relative to it."""
    kind = key.kind
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is Path and isinstance(value, str | Path):
        path = Path(value).expanduser()
        return path if path.is_absolute() else ((folder or Path.cwd()) / path)
    if get_origin(kind) is tuple:
        return _texts(key, value, where)
    if get_origin(kind) is Mapping:
        if not isinstance(value, Mapping):
            raise _wrong(key, value, where, "a section of lists")
        return {name: _texts(key, texts, where) for name, texts in value.items()}
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


def _texts(key: Key, value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        like = '["pypi.org"]' if key.hosts else '["read_file", "done"]'
        raise _wrong(key, value, where, f"a list of texts, such as {like}")
    try:
        AllowList.of(value if key.hosts else ())
    except UsageError as error:
        raise ConfigError.of([Problem(f"{key.path}: {error}", error.hint, where)]) from None
    return tuple(value)


def _wrong(key: Key, value: object, where: str, expected: str) -> ConfigError:
    what = f"{key.path} is {value!r} ({kind_of(value)}); expected {expected}."
    return ConfigError.of([Problem(what, file=where)])


def kind_of(value: object) -> str:
    names = {
        bool: "true or false",
        str: "text",
        int: "a whole number",
        float: "a number",
        dict: "a section",
        list: "a list",
    }
    return names.get(type(value), type(value).__name__)


def unknown(kind: str, name: str, known: Iterable[str], where: str) -> ConfigError:
    return ConfigError.of([Problem(f"there is no {kind} {name!r}.", nearest(name, known), where)])
