"""Where the model hosts of a user are found: their files, and what these say.

One folder for the user, and in it one for each model:

gate.lock         held by the one who changes what is in memory: only one loads or makes room at a time
MODEL/door.lock   taken for a moment by everyone on the way in, for long by who starts or ends a host: nobody overtakes
MODEL/use.lock    held shared during each request, exclusively by who ends a host; its time is the time of last use
MODEL/life.lock   held by the host itself from before its start until its death: the only proof that it lives
MODEL/host.json   where it listens, its token, its memory; worth nothing unless life.lock is held
MODEL/host.log    what llama.cpp said

Locks are taken in this order: gate, door of the wanted model, door of a model that has to go, its use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError
from treadle.models.hosts.locks import is_held

PROTOCOL = 2
"""Raised when hosts and clients of different Treadle versions no longer understand each other."""
_HOSTS = "hosts"


@dataclass(frozen=True, slots=True)
class HostSpec:
    """What a host is to load, and how."""

    folder: str
    """The place it is found at."""
    model: str
    path: str
    size: int
    mtime_ns: int
    """With the size, tells whether the file is still the one that was loaded."""
    context: int
    """Tokens per request."""
    parallel: int
    threads: int
    idle_seconds: float
    memory_bytes: int
    """What it is reckoned to take."""
    prompt_cache_bytes: int
    device: str
    """Whose memory it takes: `ram`, or `gpu` for those of the graphics cards."""
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """A host as it describes itself."""

    protocol: int
    pid: int
    base_url: str
    """Empty while it loads."""
    api_key: str = field(repr=False)
    model: str
    path: str
    size: int
    mtime_ns: int
    context: int
    parallel: int
    threads: int
    memory_bytes: int
    device: str
    started: float
    """Seconds since 1970."""

    @classmethod
    def of(cls, spec: HostSpec, *, pid: int, base_url: str, started: float) -> Host:
        own: dict[str, Any] = {"protocol": PROTOCOL, "pid": pid, "base_url": base_url, "started": started}
        taken = {item.name for item in fields(cls)} - own.keys()
        return cls(**own, **{name: value for name, value in asdict(spec).items() if name in taken})

    def serves(self, spec: HostSpec) -> bool:
        """Tell whether this host can answer for what is asked; more context than asked for does no harm."""
        mine = (self.protocol, self.path, self.size, self.mtime_ns)
        return mine == (PROTOCOL, spec.path, spec.size, spec.mtime_ns) and self.context >= spec.context


class Runtime:
    """The folder of one user's model hosts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.gate = self.folder / "gate.lock"

    def prepare(self) -> None:
        """Make the folder, for this user alone.

        Raises:
            ConfigError: It cannot be made, or belongs to somebody else.
        """
        try:
            for folder in (self.folder, self.folder / _HOSTS):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = folder.lstat()
                if found.st_uid != os.geteuid():
                    raise PermissionError(f"it belongs to user {found.st_uid}")
                if found.st_mode & 0o077:
                    folder.chmod(0o700)
        except OSError as exc:
            raise ConfigError(
                f"The runtime folder {self.folder} cannot be used ({exc.strerror or exc}); no model was loaded.",
                hint="Name another one with TREADLE_RUNTIME_DIR.",
            ) from exc

    def place(self, model_path: Path) -> Place:
        """The place of the model in this file."""
        path = str(model_path.resolve())
        shown = re.sub(r"[^A-Za-z0-9._-]+", "-", model_path.stem)[:60]
        return Place(self.folder / _HOSTS / f"{shown}-{hashlib.sha256(path.encode()).hexdigest()[:8]}")

    def places(self) -> list[Place]:
        """Every place at which a host lives now."""
        try:
            folders = sorted((self.folder / _HOSTS).iterdir())
        except OSError:
            return []
        return [place for place in map(Place, folders) if is_held(place.life)]


class Place:
    """The files of one model's host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.door = folder / "door.lock"
        self.use = folder / "use.lock"
        self.life = folder / "life.lock"
        self.address = folder / "host.json"
        self.log = folder / "host.log"

    def write(self, host: Host) -> None:
        """Publish the address. Atomic; readable for this user only."""
        draft = self.address.with_suffix(".new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(asdict(host), file)
        draft.replace(self.address)

    def read(self) -> Host | None:
        """Return what the address file says; None if there is none that can be read."""
        try:
            data: Any = json.loads(self.address.read_text())
            return Host(**data)
        except (OSError, ValueError, TypeError):
            return None

    def live(self) -> Host | None:
        """Return the host that lives here and answers; None if there is none, or it loads still."""
        host = self.read() if is_held(self.life) else None
        return host if host is not None and host.base_url else None

    def holder(self) -> int | None:
        """Return the process that holds the life lock, as it wrote into it; None if it has not yet."""
        try:
            return int(self.life.read_text())
        except (OSError, ValueError):
            return None

    def clear(self) -> None:
        """Remove the address. Idempotent."""
        self.address.unlink(missing_ok=True)
