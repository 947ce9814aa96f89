"""Getting a page from a host that the user allowed, and from no other: names are resolved here, and checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

import httpx2

from treadle.errors import Refused

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host."""

_LARGEST = 2 * 1024 * 1024
_SECONDS = 30.0
_HOPS = 5
_PORTS = {"http": 80, "https": 443}
_READABLE = ("text/", "application/json", "application/xml", "application/xhtml", "application/javascript")


@dataclass(frozen=True, slots=True)
class Page:
    """What a host answered."""

    url: str
    """Where it was found in the end."""
    status: int
    content_type: str
    text: str
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class _Target:
    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """As it stands in the header `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


async def resolved(host: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Reach:
    """The hosts that may be reached. An entry is a host, `*.` and a domain, or either with a port.

    A name must stand for public addresses; one of a private network, or of this machine, is reached only if the entry
    is that address itself, or `localhost`. The address that was checked is the one that is asked.
    """

    def __init__(self, allow: Sequence[str], *, resolve: Resolve = resolved) -> None:
        self._allow = [entry.strip().lower() for entry in allow]
        self._resolve = resolve

    async def get(self, url: str) -> Page:
        """Get a page, following redirections to hosts that are allowed as well.

        Raises:
            Refused: A host is not allowed, is not reached, or answers what is no text.
        """
        try:
            async with asyncio.timeout(_SECONDS), httpx2.AsyncClient(trust_env=False) as client:
                for _ in range(_HOPS):
                    page, onward = await self._hop(client, url)
                    if not onward:
                        return page
                    url = urljoin(url, onward)
        except TimeoutError:
            raise Refused(f"{url} did not answer within {_SECONDS:g} seconds.", hint="Try another page.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Refused(
                f"{url} was not reached: {error or type(error).__name__}.", hint="Try another page."
            ) from None
        raise Refused(f"{url} leads on and on.", hint="Try another page.")

    async def _hop(self, client: httpx2.AsyncClient, url: str) -> tuple[Page, str]:
        target = _target(url)
        address = await self._address(target)
        parts = urlsplit(url)
        shown = f"[{address}]" if ":" in address else address
        asked = parts._replace(netloc=f"{shown}:{target.port}", fragment="").geturl()
        headers = {"Host": target.netloc, "Accept-Encoding": "identity", "User-Agent": "treadle"}
        extensions = {"sni_hostname": target.host}
        async with client.stream("GET", asked, headers=headers, extensions=extensions) as response:
            if response.is_redirect:
                return Page(url, response.status_code, "", ""), response.headers.get("location", "")
            kind = response.headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
            if not kind.startswith(_READABLE) and not kind.endswith(("+json", "+xml")):
                raise Refused(f"{url} is {kind or 'of no kind'}, which is no text.", hint="Try another page.")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise Refused(f"{url} came compressed, which was not asked for.", hint="Try another page.")
            data = bytearray()
            async for piece in response.aiter_raw():
                data += piece
                if len(data) > _LARGEST:
                    break
            text = bytes(data[:_LARGEST]).decode(response.charset_encoding or "utf-8", "replace")
            return Page(url, response.status_code, kind, text, len(data) <= _LARGEST), ""

    async def _address(self, target: _Target) -> str:
        """The address to ask, if the target may be reached."""
        entry = next((entry for entry in self._allow if _fits(target, entry)), None)
        if entry is None:
            raise Refused(
                f"{target.host}:{target.port} is not among the hosts that may be reached; it was not asked.",
                hint=f"Allowed: {', '.join(self._allow) or 'none'}. Only the user can allow more, under [tools].",
            )
        if _is_address(target.host):
            return target.host
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise Refused(f"There is no host {target.host!r}.", hint="Try another page.")
        if target.host != "localhost" and not all(ip_address(address).is_global for address in addresses):
            raise Refused(
                f"{target.host} stands for an address of this machine or a private network; it was not asked.",
                hint="Only the user can allow it, by its address.",
            )
        return addresses[0]


def _target(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower().rstrip("."), parts.port
    except ValueError:
        raise Refused(f"{url!r} is no URL.", hint="Write https://HOST/PATH.") from None
    if parts.scheme not in _PORTS or not host or parts.username is not None or any(ord(char) <= 32 for char in url):
        raise Refused(f"{url!r} is no URL that can be fetched.", hint="Write https://HOST/PATH, without a password.")
    return _Target(parts.scheme, host, _PORTS[parts.scheme] if port is None else port)


def _fits(target: _Target, entry: str) -> bool:
    host, colon, port = entry.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        host, port = entry, ""
    host = host.strip("[]")
    if target.port != (int(port) if port else _PORTS[target.scheme]):
        return False
    if host.startswith("*.") and not _is_address(target.host):
        return fnmatchcase(target.host, host)
    return target.host == host


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
