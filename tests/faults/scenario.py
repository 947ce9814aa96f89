"""What a fault is, and how one is played."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from tests.faults.stage import ROOT, Stage, stage

from treadle.errors import TreadleError
from treadle.testing.postgres import NoServer, Server, server_or_skip, wheel_binaries

Play = Callable[[Stage], Awaitable[None]]


class Row(msgspec.Struct):
    """What came of it: a line of the table."""

    name: str
    done: str = ""
    runs: int = 0
    nodes: int = 0
    recovered: str = "-"
    wrong: list[str] = []
    skipped: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """One fault."""

    name: str
    about: str
    play: Play
    quick: Play | None
    """The same in a few seconds, for `make test`."""
    own: Callable[[], Server] | None
    """Makes a server for this fault alone; None: it shares one."""
    inside: tuple[str, ...]
    """Options of unshare(1): namespaces that it needs for itself."""


SCENARIOS: dict[str, Scenario] = {}


class Forbidden(Exception):
    """This machine does not let us bring the fault about: the reason for a visible skip."""


def scenario(
    about: str,
    *,
    quick: Play | None = None,
    own: Callable[[], Server] | None = None,
    inside: Sequence[str] = (),
) -> Callable[[Play], Play]:
    """Add a fault to the list, under the name of its function."""

    def keep(play: Play) -> Play:
        name = play.__name__
        SCENARIOS[name] = Scenario(name, about, play, quick, own, tuple(inside))
        return play

    return keep


async def run(chosen: Scenario, *, quick: bool, say: Callable[[str], None]) -> Row:
    """Play a fault and check what must hold. Raises pytest's Skipped where there is no server."""
    play = chosen.quick if quick else chosen.play
    assert play is not None
    began = asyncio.get_running_loop().time()
    try:
        server = await asyncio.to_thread(chosen.own or _shared)
    except (NoServer, Forbidden) as error:
        return Row(chosen.name, skipped=str(error))
    try:
        async with stage(server, say) as at:
            wrong: list[str] = []
            try:
                await play(at)
                await at.all_ended()
            except Forbidden as error:
                return Row(chosen.name, skipped=str(error))
            except (AssertionError, TreadleError) as error:
                wrong.append(f"{type(error).__name__}: {error}")
            found = await at.audit()
            recovered = f"{max(at.recovered):.2f} s" if at.recovered else "-"
            done = ", ".join(f"{count:,} x {what}" for what, count in at.done.items())
            wrong += [*found.wrong, *at.broken()]
            seconds = asyncio.get_running_loop().time() - began
            return Row(chosen.name, done, found.runs, found.nodes, recovered, wrong, "", seconds)
    finally:
        if chosen.own is not None:
            await asyncio.to_thread(server.stop)


def _shared() -> Server:
    return server_or_skip(wheel_binaries)


def own() -> Server:
    """A server for one fault."""
    return Server(wheel_binaries())


def enter(chosen: Scenario, say: Callable[[str], None]) -> Row:
    """Play a fault in namespaces of its own, which end with it: nothing here changes."""
    command = ["unshare", *mine(), *chosen.inside, "--", sys.executable, "-m", "tests.faults", chosen.name, "--here"]
    try:
        probe = subprocess.run(
            [*command[: command.index("--")], "--", "true"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return Row(chosen.name, skipped="there is no unshare(1)")
    if probe.returncode:
        return Row(chosen.name, skipped=f"no namespaces: {probe.stderr.strip()}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            if last:
                say(last)
            last = line.rstrip()
    return msgspec.json.decode(last, type=Row)


def mine() -> list[str]:
    """Options of unshare(1) that give the right to other namespaces to who is not root."""
    if os.geteuid() == 0:
        return []
    return ["--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}", "--keep-caps"]
