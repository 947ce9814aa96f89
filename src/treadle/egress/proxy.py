"""A forward proxy for one call in a sandbox: HTTP requests with whole URLs, and CONNECT, to allowed hosts only."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace

from treadle.egress.allowed import Egress
from treadle.egress.relay import Allowance
from treadle.egress.visit import Bounds, Visit
from treadle.ports.sandbox import Contact

logger = logging.getLogger("treadle.egress")

_MOST_CONTACTS = 100
_LONGEST_HOST = 120


class Proxy:
    """Serves one call over a listening socket that only this call reaches.

    Each connection carries one request. It knows nobody's passwords, and passes on nothing of the environment.
    """

    def __init__(self, egress: Egress, bounds: Bounds | None = None) -> None:
        self._egress = egress
        self._bounds = bounds or Bounds()
        self._allowance = Allowance(self._bounds.carried_bytes)
        self._contacts: dict[tuple[str, int, str], Contact] = {}

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """Whom the call asked for, as far as its connections have ended; a hundred at most."""
        return tuple(self._contacts.values())

    async def serve(self, listener: socket.socket) -> None:
        """Attend to connections until cancelled; then all are ended. The listener stays the caller's."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        free = asyncio.Semaphore(self._bounds.at_once)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._bounds.in_all):
                await free.acquire()
                client, _ = await loop.sock_accept(listener)
                group.create_task(self._attend(client)).add_done_callback(lambda _: free.release())
        self._note(Contact("", refused=f"The command made {self._bounds.in_all} connections, and may make no more."))

    async def _attend(self, client: socket.socket) -> None:
        try:
            streams = await asyncio.open_connection(sock=client)
        except OSError:
            client.close()
            return
        visit = Visit(streams, self._egress, self._bounds, self._allowance)
        try:
            await visit.attend()
            await visit.leave()
        finally:
            streams[1].transport.abort()
            target = visit.target
            if target is not None or visit.refused:
                host, port = (target.host[:_LONGEST_HOST], target.port) if target is not None else ("", 0)
                sent, received = visit.meter.sent, visit.meter.received
                self._note(Contact(host, port, visit.refused, sent=sent, received=received))

    def _note(self, contact: Contact) -> None:
        key = (contact.host, contact.port, contact.refused)
        if key not in self._contacts and len(self._contacts) >= _MOST_CONTACTS:
            return
        seen = self._contacts.get(key)
        if seen is None:
            logger.info("%s:%s %s", contact.host, contact.port, contact.refused or "reached")
            self._contacts[key] = contact
            return
        self._contacts[key] = replace(
            seen,
            times=seen.times + 1,
            sent=seen.sent + contact.sent,
            received=seen.received + contact.received,
        )
