"""Which hosts may be reached: the entries of an allow-list, and which addresses are public. Resolves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from treadle.errors import UsageError

DEFAULT_PORTS = (80, 443)
"""Of an entry that names none."""
_HOW = "Write a host such as `pypi.org`, `*.example.org` or `127.0.0.1`, with `:PORT` if it is not 80 or 443."
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_NAT64 = IPv6Network("64:ff9b::/96")
_DISGUISES = tuple(
    map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"))
)
"""Where an IPv6 address stands for an IPv4 address (or a tunnel's end), which some routers go to."""
_SPECIAL = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "fec0::/10")))
"""Of no host of the internet, which not every Python knows."""


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One entry of an allow-list."""

    host: str
    """A name, `*.` and a domain, or an address."""
    port: int | None = None
    """None: 80 and 443."""

    def fits(self, host: str, port: int) -> bool:
        """Tell whether a host, as `host_name` writes it, is meant. A domain's entry does not mean the domain itself."""
        if port not in (DEFAULT_PORTS if self.port is None else (self.port,)):
            return False
        if self.host.startswith("*.") and not is_address(host):
            return host.endswith(self.host[1:])
        return host == self.host


@dataclass(frozen=True, slots=True)
class AllowList:
    """The hosts that may be reached. An entry without a port means 80 and 443."""

    entries: tuple[HostEntry, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> AllowList:
        """Read entries. Raises UsageError for one that means no host."""
        return cls(tuple(host_entry(text) for text in texts))

    def has(self, host: str, port: int) -> bool:
        """Tell whether a host, as `host_name` writes it, is among them."""
        return any(entry.fits(host, port) for entry in self.entries)

    def has_address(self, host: str, port: int, address: str) -> bool:
        """Tell whether a host that is among them may be asked at this address: one of the internet, or one that is
        an entry itself. `localhost` means this machine's loopback and nothing else.
        """
        if self.has(str(ip_address(address)), port):
            return True
        return ip_address(address).is_loopback if host == "localhost" else is_public(address)

    def __str__(self) -> str:
        return ", ".join(authority(entry.host, entry.port) for entry in self.entries) or "none"


def host_entry(text: str) -> HostEntry:
    """Read an entry of an allow-list.

    Raises:
        UsageError: It means no host, or every host.
    """
    entry = text.strip().lower()
    is_domain = entry.startswith("*.")
    try:
        if entry == "*":
            raise ValueError("it would be every host")
        host, port = split_authority(entry[2:] if is_domain else entry)
        if is_domain and is_address(host):
            raise ValueError("there are no hosts below an address")
    except ValueError as error:
        raise UsageError(f"{text!r} is no host that can be allowed: {error}.", hint=_HOW) from None
    return HostEntry(f"*.{host}" if is_domain else host, port)


def split_authority(text: str) -> tuple[str, int | None]:
    """Split `HOST`, `HOST:PORT` or `[IPV6]:PORT`; the host as `host_name` writes it. Raises ValueError."""
    bare = text.startswith("[") and text.endswith("]")
    if bare or is_address(text) or ":" not in text:
        return host_name(text), None
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is no port")
    return host_name(host), int(port)


def host_name(text: str) -> str:
    """A name or an address in the one way that it is written here: small letters, no last dot, no other spelling.

    Raises:
        ValueError: It is neither, or an address in a spelling that programs read in different ways.
    """
    host = text.lower().removesuffix(".")
    if host.startswith("[") and host.endswith("]"):
        address = ip_address(host[1:-1])
        if not isinstance(address, IPv6Address) or address.scope_id:
            raise ValueError(f"{host} is no address of IPv6")
        return str(address)
    if is_address(host) and "%" not in host:
        return str(ip_address(host))
    if not _NAME.fullmatch(host) or len(host) > 253:
        hint = "write it as the name servers know it, `xn--...`" if not host.isascii() else "it has no name's form"
        raise ValueError(hint if host else "it is empty")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise ValueError("it is a number that some programs read as an address; write four decimal numbers")
    return host


def authority(host: str, port: int | None, *, default: int | None = None) -> str:
    """The host and the port as URLs and the header `Host` have them; without the port if it is the default."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port in (None, default) else f"{shown}:{port}"


def is_address(host: str) -> bool:
    """Tell whether it is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the internet: not to a private network, this machine, this link or a group,
    also not in the disguise of another kind of address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.scope_id or any(ip in network for network in _DISGUISES):
            return False
    is_special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL)
    return ip.is_global and not is_special
