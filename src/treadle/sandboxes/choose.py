"""Which sandbox works on this machine. Found out by running something in it, never by guessing."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from treadle.egress.allowed import Egress
from treadle.errors import SandboxUnavailable, TreadleError, UnknownName
from treadle.ports.sandbox import MIB, Guarantee, Limits, Sandbox
from treadle.sandboxes._cgroup import Controllers, find_controllers
from treadle.sandboxes._engine import (
    Engine,
    default_image,
    find_engines,
    host_image,
    look_at,
    need_image,
    remove_orphans,
)
from treadle.sandboxes._kernel import landlock_abi
from treadle.sandboxes._runtime import find_runtime
from treadle.sandboxes._seccomp_numbers import MACHINES
from treadle.sandboxes.bubblewrap import BubblewrapSandbox, Bwrap, find_bwrap
from treadle.sandboxes.container import ContainerSandbox
from treadle.sandboxes.landlock import LandlockSandbox
from treadle.sandboxes.unconfined import UnconfinedSandbox
from treadle.settings import SandboxSettings

BACKENDS = ("bubblewrap", "landlock", "docker", "none")
_ALIASES = {"bwrap": "bubblewrap", "podman": "docker", "local": "none"}
_WITH_LIST = ("bubblewrap", "docker")
"""Those that have a network of each call's own, which a proxy can stand in."""
_LANDLOCK_ABI = 2
"""The first one that lets a file be moved from one folder to another."""
_PROBE_LIMITS = Limits(wall_seconds=10.0)

Open = Callable[[Path, Limits, Egress | None], Sandbox]


@dataclass(frozen=True, slots=True)
class Availability:
    """One backend on this machine: whether it works, why not, and what it holds."""

    name: str
    ok: bool
    why: str
    guarantees: frozenset[Guarantee]


@dataclass(frozen=True, slots=True)
class _Found:
    availability: Availability
    open: Open | None


_found: dict[tuple[str, str], _Found] = {}
"""By backend and image. Probed once in a process: what a machine allows does not change while we run."""


async def open_sandbox(
    workspace: Path,
    *,
    backend: str = "auto",
    limits: Limits | None = None,
    egress: Egress | None = None,
    image: str = "",
) -> Sandbox:
    """A sandbox for this workspace: the named backend, or with `auto` the strongest that works. Never `none` unasked.

    `egress`: the hosts that commands may reach; not every backend has a way to them.
    `image`: what containers hold; by default, this machine's own programs.

    Raises:
        UnknownName: There is no such backend.
        SandboxUnavailable: The workspace is no folder, or holds the Python that runs Treadle, or no backend works; the
            message says why each failed.
    """
    name = _ALIASES.get(backend, backend)
    if name not in (*BACKENDS, "auto"):
        raise UnknownName("sandbox", backend, (*BACKENDS, "auto"))
    if not workspace.is_dir():
        raise SandboxUnavailable(f"The workspace {workspace} is not a folder; nothing was run.", hint="Make it first.")
    if name != "none":
        _check_holds_no_runtime(workspace)
    reasons = []
    for candidate in BACKENDS[:-1] if name == "auto" else (name,):
        found = await (_find(candidate, image) if egress is None else _find_with_list(candidate, image))
        if found.open is not None:
            return found.open(workspace, limits or Limits(), egress)
        reasons.append(f"{candidate}: {found.availability.why}")
    raise _unavailable(name, reasons, egress)


def _unavailable(name: str, reasons: Sequence[str], egress: Egress | None) -> SandboxUnavailable:
    why = " ".join(reasons)
    if egress is not None:
        return SandboxUnavailable(
            f"No sandbox that was asked for can hold commands to the allowed hosts, so nothing was run. {why}",
            hint="`treadle doctor` shows which backend has `allow list`. Without --allow-host, and without allow_hosts "
            "in [sandbox], there is no network, and any backend will do.",
        )
    if name != "auto":
        message = f"The sandbox that was asked for does not work on this machine, so nothing was run. {why}"
        return SandboxUnavailable(message, hint="`treadle doctor` shows which one does; --sandbox auto takes it.")
    return SandboxUnavailable(f"No sandbox works on this machine, so nothing was run. {why}")


def limits_of(settings: SandboxSettings) -> Limits:
    """What one command may use of the machine."""
    return Limits(
        wall_seconds=settings.wall_seconds,
        memory_bytes=settings.memory_mb * MIB,
        processes=settings.processes,
        cpus=settings.cpus,
        disk_bytes=settings.disk_mb * MIB,
        files=settings.files,
    )


def egress_to(hosts: Sequence[str]) -> Egress | None:
    """The way to the hosts that commands may reach; None without any: then there is no network.

    Raises:
        UsageError: One of them means no host.
    """
    return Egress.to(hosts) if hosts else None


def _check_holds_no_runtime(workspace: Path) -> None:
    """What is writable inside must not be what runs outside."""
    folder = workspace.resolve()
    for runs_us in (Path(sys.prefix), Path(sys.base_prefix), Path(__file__)):
        if runs_us.resolve().is_relative_to(folder):
            raise SandboxUnavailable(
                f"The workspace {workspace} holds {runs_us}, which runs Treadle itself; nothing was run.",
                hint="Use another folder, or a worktree of the repository, or a Treadle installed elsewhere.",
            )


async def probe(image: str = "") -> list[Availability]:
    """Every backend with what it holds here, strongest first: without hosts that are allowed, and with some.

    A container holds `image`.
    """
    found = []
    for name in BACKENDS:
        plain, listed = (await _find(name, image)).availability, (await _find_with_list(name, image)).availability
        found.append(replace(plain, guarantees=plain.guarantees | listed.guarantees))
    return found


async def _find(name: str, image: str) -> _Found:
    key = (name, image if name == "docker" else "")
    if key not in _found:
        find: dict[str, Callable[[], Awaitable[_Found]]] = {
            "bubblewrap": _find_bubblewrap,
            "landlock": _find_landlock,
            "docker": functools.partial(_find_docker, image),
            "none": _find_none,
        }
        _found[key] = await find[name]()
    return _found[key]


async def _find_with_list(name: str, image: str) -> _Found:
    """The same, tried with a list of allowed hosts."""
    found = await _find(name, image)
    if found.open is None:
        return found
    if name not in _WITH_LIST:
        return _failed(name, "it works, but cannot hold commands to a list of allowed hosts.")
    key = (f"{name} with a list", image)
    if key not in _found:
        _found[key] = await _try(name, found.open, Egress.to([]))
    return _found[key]


async def _find_bubblewrap() -> _Found:
    if sys.platform != "linux":
        return _failed("bubblewrap", "it needs Linux.")
    programs = await asyncio.to_thread(find_bwrap)
    if not programs:
        return _failed("bubblewrap", "no bwrap is installed.")
    controllers = find_controllers()
    reasons = []
    for bwrap in programs:
        found = await _try("bubblewrap", functools.partial(_open_bubblewrap, bwrap, controllers))
        if found.open is not None:
            return found
        reasons.append(f"{bwrap.path}: {found.availability.why}")
    return _failed("bubblewrap", " ".join(reasons))


async def _find_landlock() -> _Found:
    if sys.platform != "linux":
        return _failed("landlock", "it needs Linux.")
    abi = landlock_abi()
    if abi < _LANDLOCK_ABI:
        return _failed(
            "landlock", "this kernel has no Landlock, or it is switched off, or it is older than Linux 5.19."
        )
    if os.uname().machine not in MACHINES:
        return _failed("landlock", f"there is no system call filter for {os.uname().machine}, and it needs one.")
    return await _try("landlock", functools.partial(_open_landlock, abi, find_controllers()))


async def _find_docker(image: str) -> _Found:
    programs = find_engines()
    if not programs:
        return _failed("docker", "neither docker nor podman is installed.")
    reasons = []
    for path in programs:
        try:
            open_it = await asyncio.to_thread(_engine_with, path, image)
            found = await _try("docker", open_it)
        except TreadleError as error:
            reasons.append(f"{error}" + (f" {error.hint}" if image else ""))
            continue
        if found.open is not None:
            return found
        reasons.append(f"{path}: {found.availability.why}")
    return _failed("docker", " ".join(reasons))


async def _find_none() -> _Found:
    why = "Commands run as you, with your files and your network."
    open_it = functools.partial(_open_unconfined, find_controllers())
    return _Found(Availability("none", True, why, frozenset()), open_it)


def _open_bubblewrap(
    bwrap: Bwrap, controllers: Controllers | None, workspace: Path, limits: Limits, egress: Egress | None
) -> Sandbox:
    return BubblewrapSandbox(workspace, bwrap=bwrap, limits=limits, controllers=controllers, egress=egress)


def _open_landlock(
    abi: int, controllers: Controllers | None, workspace: Path, limits: Limits, egress: Egress | None
) -> Sandbox:
    return LandlockSandbox(workspace, abi=abi, limits=limits, controllers=controllers)


def _engine_with(path: str, image: str) -> Open:
    """Make an engine ready; it may take seconds to answer."""
    engine = look_at(path)
    remove_orphans(engine)
    of_host = not image and sys.platform == "linux"
    if of_host:
        image = host_image(engine, find_runtime(), "0:0" if engine.is_rootless else f"{os.getuid()}:{os.getgid()}")
    else:
        image = image or default_image()
        need_image(engine, image)
    return functools.partial(_open_container, engine, image, of_host)


def _open_container(
    engine: Engine, image: str, of_host: bool, workspace: Path, limits: Limits, egress: Egress | None
) -> Sandbox:
    return ContainerSandbox(workspace, engine=engine, image=image, of_host=of_host, limits=limits, egress=egress)


def _open_unconfined(
    controllers: Controllers | None, workspace: Path, limits: Limits, egress: Egress | None
) -> Sandbox:
    return UnconfinedSandbox(workspace, limits=limits, controllers=controllers)


async def _try(name: str, open_it: Open, egress: Egress | None = None) -> _Found:
    """Run Treadle's Python in it: that needs the walls, the runtime and the limits all at once."""
    with tempfile.TemporaryDirectory(prefix="treadle-probe-") as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        sandbox = open_it(workspace, _PROBE_LIMITS, egress)
        try:
            result = await sandbox.exec(["python", "-c", "open('written', 'w').close()"])
        except (TreadleError, OSError) as error:
            return _failed(name, str(error))
        finally:
            await sandbox.close()
        if result.exit_code != 0 or not (workspace / "written").exists():
            said = (result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"])[-1]
            return _failed(name, f"Python did not run in it: {said}.")
    return _Found(Availability(name, True, "", sandbox.guarantees), open_it)


def _failed(name: str, why: str) -> _Found:
    return _Found(Availability(name, False, why, frozenset()), None)
