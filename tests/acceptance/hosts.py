"""Hosts with networks, file systems and names of their own on this one machine, and a store that they reach by TCP.

Linux namespaces, made without any privilege: one user namespace holds a network in the middle, and each host's network,
mounts and name. A host's disk is a tmpfs that no other process can see. Hosts cannot reach each other: a cable (veth)
leads from each to the middle, where a relay passes on what it hears to the Unix socket of a PostgreSQL server outside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from commandline import SRC, Commands

CABLE = Path(__file__).with_name("cable.py")
PORT = 5432
DISK = Path("/mnt")
"""Where each host's own disk is mounted."""

_RELAY = f"""
import asyncio, sys
async def meet(reader, writer):
    there, back = await asyncio.open_unix_connection(sys.argv[1])
    async def pump(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()
    await asyncio.gather(pump(reader, back), pump(there, writer))
async def main():
    await asyncio.start_server(meet, "0.0.0.0", {PORT})
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until whoever started us is gone
asyncio.run(main())
"""
_HOST = """
import socket, subprocess, sys
name, disk, *hidden = sys.argv[1:]
socket.sethostname(name)
def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)
mount("--make-rprivate", "/")
mount("-o", "remount,bind,ro", "/")
for folder in (disk, *hidden):
    mount("-t", "tmpfs", "tmpfs", folder)
print("ready", flush=True)
sys.stdin.read()
"""


class NoNamespaces(Exception):
    """Why hosts cannot be made here: the reason for a visible skip."""


@dataclass
class Held:
    """A process that holds namespaces open; it ends when we do."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *command: str) -> Held:
        """Raises NoNamespaces."""
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
            )
        except OSError as error:
            raise NoNamespaces(str(error)) from error
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            _, said = process.communicate()
            raise NoNamespaces(said.strip().splitlines()[-1] if said.strip() else f"{command[0]} ended")
        return cls(process)

    def enter(self, *spaces: str) -> tuple[str, ...]:
        """What runs a command in there; the process that it starts is the command itself."""
        return ("nsenter", f"--target={self.process.pid}", "--user", "--preserve-credentials", *spaces)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass
class Network:
    """A relay in the middle, and hosts around it."""

    middle: Held
    hosts: list[Held] = field(default_factory=list)
    commands: list[Commands] = field(default_factory=list)

    @classmethod
    def start(cls, socket: Path) -> Network:
        """Raises NoNamespaces."""
        return cls(
            Held.start("unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", _RELAY, str(socket))
        )

    def host(self, name: str, schema: str) -> Commands:
        """The command line on a new host, in an empty project. Raises NoNamespaces."""
        hidden = [place for place in ("/tmp", "/dev/shm") if not _holds_us(Path(place)) and os.path.isdir(place)]
        spaces = ("unshare", "--net", "--mount", "--uts")
        held = Held.start(*self.middle.enter("--net"), *spaces, sys.executable, "-c", _HOST, name, str(DISK), *hidden)
        self.hosts.append(held)
        number = len(self.hosts)
        self._lay_cable(held, number)
        env = _environment(f"postgresql://postgres@10.77.{number}.1:{PORT}/postgres?schema={schema}")
        project = DISK / "project"
        enter = held.enter("--net", "--mount", "--uts")
        for folder in (project, DISK / "home", DISK / "tmp"):
            subprocess.run([*enter, "mkdir", "-p", str(folder)], check=True)
        commands = HostCommands(Path("/"), env, prefix=(*enter, "env", "-C", str(project)))
        self.commands.append(commands)
        return commands

    def _lay_cable(self, host: Held, number: int) -> None:
        here, there = self.middle.enter("--net"), host.enter("--net")
        for enter, words in ((here, ("lay", f"{number}", f"{host.process.pid}")), (there, ("end", f"{number}"))):
            command = [*enter, sys.executable, CABLE, *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NoNamespaces(done.stderr.strip().splitlines()[-1])

    def end(self) -> None:
        """End everything that runs on the hosts, and the hosts. Idempotent."""
        for commands in self.commands:
            for process in commands.started:
                process.kill()
                process.communicate()
        for held in (*self.hosts, self.middle):
            held.end()


class HostCommands(Commands):
    """Runs `treadle` on a host, in its project."""

    def write(self, name: str, text: str) -> None:
        subprocess.run([*self.prefix, "tee", name], input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def exists(self, name: str) -> bool:
        return self.run("test", "-e", name).code == 0

    def hang_at(self, when: str) -> None:
        """Let the model of the script never answer one kind of request."""
        rules = json.loads(self.run("cat", "script.json").out)
        self.write(
            "script.json", json.dumps([rule | {"seconds": 3600} if rule["when"] == when else rule for rule in rules])
        )


def network_or_skip(socket: Path) -> Network:
    """A network; where the kernel, or a missing program, forbids it, the test is skipped and says why."""
    missing = [name for name in ("unshare", "nsenter", "mount") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"hosts of their own need {', '.join(missing)}")
    try:
        network = Network.start(socket)
    except NoNamespaces as error:
        pytest.skip(f"no network of its own can be made here: {error}")
    try:
        network.host("trial", "trial")
    except NoNamespaces as error:
        network.end()
        pytest.skip(f"no host of its own can be made here: {error}")
    return network


def _holds_us(folder: Path) -> bool:
    """Whether the code that hosts run lies in a folder, so that it cannot be hidden from them."""
    ours = (Path(sys.prefix), Path(sys.base_prefix), SRC)
    return any(place.resolve().is_relative_to(folder.resolve()) for place in ours)


def _environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TREADLE_", "XDG_", "OLLAMA_"))}
    return kept | {
        "HOME": str(DISK / "home"),
        "TMPDIR": str(DISK / "tmp"),
        "PYTHONPATH": str(SRC),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "TREADLE_RUNTIME_DIR": str(DISK / "home"),
        "TREADLE_OLLAMA_URL": "http://127.0.0.1:9",
        "TREADLE_STORE_URL": url,
        "NO_COLOR": "1",
    }
