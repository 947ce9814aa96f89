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
    """Context of one call. The proxy runs in this process, and ends with the context."""

    def __init__(self, egress: Egress) -> None:
        self._proxy = Proxy(egress)
        self._allowed = egress.allowed
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._listener: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Outlet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._theirs.close()
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
            if not self._serving.cancelled() and (failed := self._serving.exception()) is not None:
                logger.warning("The proxy of a sandbox failed: %s", failed)
        if self._listener is not None:
            self._listener.close()

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Whom the call asked for."""
        return self._proxy.contacts

    @property
    def is_open(self) -> bool:
        """Whether the call came so far that it could ask for anything."""
        return self._serving is not None

    @property
    def direct(self) -> str:
        """The names of the call's own loopback, but for those that the list means the host's by."""
        listed = {entry.host for entry in self._allowed.entries}
        return ",".join(name for name in _LOOPBACK if name not in listed)

    def lend(self) -> int:
        """The descriptor that the command must inherit. The caller closes it once that runs."""
        return self._theirs.detach()

    async def open(self) -> None:
        """Wait until the call has made its socket, and serve it; then the command begins. Returns if it ended first.

        Raises:
            SandboxUnavailable: What came is not the socket that was expected.
        """
        await readable(self._ours.fileno())
        with suppress(ConnectionError):
            _, descriptors, _, _ = socket.recv_fds(self._ours, 16, 1, socket.MSG_CMSG_CLOEXEC)
            if descriptors:
                self._listener = _checked(descriptors[0])
                self._serving = asyncio.ensure_future(self._proxy.serve(self._listener))
                self._ours.send(b"+")


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
