"""The way out of one call that may reach some hosts: takes the listening socket that it made inside, and serves it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from treadle.egress.allowed import Egress
from treadle.egress.proxy import Proxy
from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import Contact
from treadle.sandboxes._process import readable

PROGRAM = Path(__file__).with_name("_listen_inside.py")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
logger = logging.getLogger("treadle.egress")


class Outlet:
    """Context of one call. The proxy runs in this process, and ends with the context.

    The command makes its socket by `PROGRAM`, which it is begun with: `program ... PROGRAM, way, direct, *command`.
    """

    def __init__(self, egress: Egress) -> None:
        self._proxy = Proxy(egress)
        self._allowed = egress.allowed
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.is_open = False
        """Whether the call came so far that it could ask for anything."""

    async def __aenter__(self) -> Outlet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    logger.warning("The proxy of a sandbox failed: %s", ended)
        finally:
            for one in self._sockets:
                one.close()

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Whom the call asked for, once the context has ended."""
        return self._proxy.contacts

    @property
    def direct(self) -> str:
        """The names of the call's own loopback, but for those that the list means the host's by."""
        listed = {entry.host for entry in self._allowed.entries}
        return ",".join(name for name in _LOOPBACK if name not in listed)

    def lend(self) -> int:
        """A descriptor that the command must inherit, as its way to us. The caller closes it once that runs."""
        ours, theirs = socket.socketpair()
        self._sockets.append(ours)
        return theirs.detach()

    async def open(self) -> None:
        """Wait until the command has made its socket, and serve it; only then it goes on. Returns if it ended first.

        Raises:
            SandboxUnavailable: What came is not the socket that was expected.
        """
        way = self._sockets[-1]
        way.setblocking(False)
        await readable(way.fileno())
        with suppress(ConnectionError):
            _, descriptors, _, _ = socket.recv_fds(way, 16, 1, socket.MSG_CMSG_CLOEXEC)
            if descriptors:
                listener = _checked(descriptors[0])
                self._sockets.append(listener)
                self._tasks.append(asyncio.ensure_future(self._proxy.serve(listener)))
                self.is_open = True
                way.send(b"+")

    def open_at(self, path: Path) -> None:
        """Do as `open`, beside the caller, for a command that inherits nothing: its way to us is a socket file.

        Raises:
            OSError: It cannot be made.
        """
        door = socket.socket(socket.AF_UNIX)
        self._sockets.append(door)
        door.bind(str(path))
        door.listen(1)
        door.setblocking(False)
        self._tasks.append(asyncio.ensure_future(self._admit(door)))

    async def _admit(self, door: socket.socket) -> None:
        """The first who comes is the program that begins the command. Whoever comes later finds nobody."""
        way, _ = await asyncio.get_running_loop().sock_accept(door)
        door.close()
        self._sockets.append(way)
        await self.open()


def no_way_out(said: str, code: int) -> SandboxUnavailable:
    """The error of a call that ended before it had its socket."""
    why = said.strip() or f"it ended with code {code}"
    return SandboxUnavailable(f"The sandbox got no way out to allowed hosts: {why}. The command did not run.")


def _checked(descriptor: int) -> socket.socket:
    """The listener, if it is one of a loopback. Nobody could have sent something else yet; but it came from inside."""
    try:
        received = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise SandboxUnavailable("The sandbox made no socket; the command did not run.") from None
    is_listening = received.family == socket.AF_INET and received.type == socket.SOCK_STREAM
    is_listening = is_listening and bool(received.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if not is_listening or received.getsockname()[0] != "127.0.0.1":
        received.close()
        raise SandboxUnavailable("The sandbox made another socket than it should; the command did not run.")
    return received
