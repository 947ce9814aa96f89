"""A container engine, by its command line: docker and podman take the same words, and podman needs no service then."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from treadle.errors import SandboxUnavailable
from treadle.sandboxes._cgroup import Controllers
from treadle.sandboxes._runtime import Runtime
from treadle.settings import child_environment

ENGINES = ("docker", "podman")
_ANSWER_SECONDS = 30.0
_PREFIX = f"treadle-{os.getpid()}-{secrets.token_hex(4)}"
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Engine:
    """A program that runs containers, and what it can do here."""

    path: str
    is_podman: bool
    is_rootless: bool
    """Uid 0 inside is then the user that it belongs to."""
    limits: frozenset[str]
    """Of `memory`, `pids` and `cpu`: what it can limit for a whole container."""

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def controllers(self) -> Controllers | None:
        """What its cgroups hold."""
        return Controllers(2, dict.fromkeys(self.limits, Path("/"))) if self.limits else None

    def ask(self, *words: str, stdin: bytes = b"") -> str:
        """Run one command of the engine.

        Raises:
            SandboxUnavailable: It failed.
        """
        return _ask(self.path, *words, stdin=stdin)

    def first_process(self, name: str) -> int | None:
        """The process of this machine that is the first in a container; None if there is none, or if none of ours."""
        try:
            return int(self.ask("inspect", "--format", "{{.State.Pid}}", name)) or None
        except (SandboxUnavailable, ValueError):
            return None


def find_engines() -> list[str]:
    """Programs that exist; whether they work is another question."""
    return [path for name in ENGINES if (path := shutil.which(name))]


def look_at(path: str) -> Engine:
    """Ask an engine what it can do.

    Raises:
        SandboxUnavailable: It does not answer, or cannot work.
    """
    # Not by its name: `docker` may be podman under another name.
    said = json.loads(_ask(path, "info", "--format", "{{json .}}"))
    host = said.get("host")
    if host is not None:
        held = frozenset(host.get("cgroupControllers") or ()) & {"memory", "pids", "cpu"}
        return Engine(path, True, bool(host["security"]["rootless"]), held)
    if said.get("ServerErrors"):
        raise SandboxUnavailable(f"{path} said: {'; '.join(said['ServerErrors'])}")
    keys = {"memory": "MemoryLimit", "pids": "PidsLimit", "cpu": "CpuCfsQuota"}
    held = frozenset(kind for kind, key in keys.items() if said.get(key))
    return Engine(path, False, any("rootless" in option for option in said.get("SecurityOptions") or ()), held)


def new_name() -> str:
    """A name for a container, of this process."""
    return f"{_PREFIX}-{next(_NUMBERS)}"


def remove_orphans(engine: Engine) -> None:
    """Remove containers that do not run, of a Treadle that is dead. Those that run end with their launcher."""
    states = [word for state in ("created", "exited") for word in ("--filter", f"status={state}")]
    listed = engine.ask("ps", "--all", "--filter", "name=treadle-", *states, "--format", "{{.Names}}")
    for name in listed.split():
        _, owner, *_ = [*name.split("-"), ""]
        if name.startswith("treadle-") and owner.isdigit() and not Path("/proc", owner).exists():
            engine.ask("rm", "--force", name)


def need_image(engine: Engine, image: str) -> None:
    """See that an image is there. It is not fetched: that takes time and network, which nobody asked for.

    Raises:
        SandboxUnavailable: It is not there.
    """
    try:
        engine.ask("image", "inspect", "--format", "{{.Id}}", image)
    except SandboxUnavailable as error:
        raise SandboxUnavailable(
            f"{engine.name} does not have the image {image!r}, and Treadle fetches none by itself.",
            hint=f"Run `{engine.name} pull {image}`, or name another one as image in [sandbox].",
        ) from error


def host_image(engine: Engine, runtime: Runtime, user: str) -> str:
    """The image for this machine's own programs, which are mounted into it: links, names and nothing else.

    Made on first use, from nothing, without a network. Returns its name.
    """
    data = _archive(runtime, user)
    image = f"treadle-host:{hashlib.sha256(data).hexdigest()[:16]}"
    try:
        engine.ask("image", "inspect", "--format", "{{.Id}}", image)
    except SandboxUnavailable:
        engine.ask("import", "-", image, stdin=data)
    return image


def default_image() -> str:
    """What stands in where this machine's own programs cannot run in a container: on everything but Linux."""
    return f"docker.io/library/python:{sys.version_info[0]}.{sys.version_info[1]}-slim"


def _archive(runtime: Runtime, user: str) -> bytes:
    uid, _, gid = user.partition(":")
    files = {
        "etc/passwd": f"treadle:x:{uid}:{gid}::/tmp/home:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        "etc/group": f"treadle:x:{gid}:\nnogroup:x:65534:\n",
    }
    links = {path.lstrip("/"): os.readlink(path) for path in runtime.system if os.path.islink(path)}
    if runtime.interpreter:
        links |= {f".treadle/bin/{alias}": runtime.interpreter for alias in ("python", "python3")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        # runc gives a tmpfs the mode of the folder that it covers, whatever was asked for.
        for path, mode in {
            "tmp": 0o1777,
            "workspace": 0o755,
            ".treadle": 0o755,
            ".treadle/bin": 0o755,
            "etc": 0o755,
        }.items():
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        for path, target in sorted(links.items()):
            link = tarfile.TarInfo(path)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for path, text in files.items():
            file = tarfile.TarInfo(path)
            file.size, file.mode = len(text), 0o644
            archive.addfile(file, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _ask(path: str, *words: str, stdin: bytes = b"") -> str:
    try:
        done = subprocess.run(
            [path, *words],
            input=stdin,
            capture_output=True,
            env=engine_environment(),
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"{path} does not answer: {error}.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise SandboxUnavailable(f"{path} said: {said[-1]}")
    return done.stdout.decode(errors="replace")


def engine_environment() -> Mapping[str, str]:
    """The caller's: engines find their service, their store and their helpers by it."""
    return child_environment()
