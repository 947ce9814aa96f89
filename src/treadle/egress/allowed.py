"""The way to allowed hosts: names are resolved here, once, and the address that was checked is the one connected to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from treadle.domain.hosts import AllowList, authority, is_address, is_public
from treadle.errors import Refused

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_SECONDS = 10.0
_MOST_ADDRESSES = 4


async def resolved(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """The hosts that may be reached, and the only way to them.

    A name must stand for public addresses, every one of them; for one of a private network or of this machine only if
    the list names that address as well (`localhost` stands for this machine's loopback). Goes to hosts directly: no
    proxy, password or other setting of the environment is used.
    """

    def __init__(self, allowed: AllowList, *, resolve: Resolve = resolved) -> None:
        self.allowed = allowed
        self._resolve = resolve

    @classmethod
    def to(cls, hosts: Iterable[str], *, resolve: Resolve = resolved) -> Egress:
        """The way to the hosts of a list as users write it. Raises UsageError for an entry that means no host."""
        return cls(AllowList.of(hosts), resolve=resolve)

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The addresses to ask, at least one, if a host may be reached. It is as `domain.hosts.host_name` writes it.

        Raises:
            Refused: It may not, or there is no such host.
        """
        if not self.allowed.has(host, port):
            raise Refused(
                f"{authority(host, port)} is not among the hosts that may be reached; it was not asked.",
                hint=f"Allowed: {self.allowed}. Only the user can allow more.",
            )
        if is_address(host):
            return [host]
        addresses: Sequence[str] = []
        with suppress(OSError, UnicodeError):  # TimeoutError is an OSError
            async with asyncio.timeout(_SECONDS):
                addresses = await self._resolve(host, port)
        if not addresses:
            raise Refused(f"There is no host {host!r}.", hint="See how it is spelled.")
        for address in addresses:
            if not self.allowed.has_address(host, port, address) or (is_public(address) and _is_ours(address)):
                raise Refused(
                    f"{host} stands for {address}, an address of this machine or a private network; it was not asked.",
                    hint="Only the user can allow that, by listing the address too.",
                )
        return addresses

    async def connect(self, host: str, port: int) -> Streams:
        """Connect to a host that may be reached: to an address that was checked, without asking a resolver again.

        Raises:
            Refused: It may not be reached, or there is no such host. Nothing was sent to it.
            OSError: It does not answer.
        """
        trouble: OSError = ConnectionError(f"{authority(host, port)} was not reached")
        for address in (await self.addresses(host, port))[:_MOST_ADDRESSES]:
            try:
                async with asyncio.timeout(_SECONDS):
                    return await asyncio.open_connection(address, port)
            except TimeoutError:
                trouble = ConnectionError(f"{authority(host, port)} did not answer within {_SECONDS:g} seconds")
            except OSError as error:
                trouble = error
        raise trouble


def _is_ours(address: str) -> bool:
    """Tell whether it is an address of this machine: then our side of a connection has it too. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0]) == address
    return False
