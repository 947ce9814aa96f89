"""Getting a page from a host that the user allowed, and from no other: names are resolved here, and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from treadle.domain.hosts import authority, split_authority
from treadle.egress.allowed import Egress, Resolve, resolved
from treadle.errors import Refused

_LARGEST = 2 * 1024 * 1024
_SECONDS = 30.0
_HOPS = 5
_PORTS = {"http": 80, "https": 443}
_ANEW = httpx2.Limits(max_keepalive_connections=0)
"""Two hosts may share an address; a connection whose certificate is that of one must not be used for the other."""
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
        return authority(self.host, self.port, default=_PORTS[self.scheme])


class Reach:
    """Gets pages from the hosts that may be reached: see `egress.allowed.Egress`, which decides."""

    def __init__(self, allow: Sequence[str], *, resolve: Resolve = resolved) -> None:
        """Raises UsageError where an entry means no host."""
        self._egress = Egress.to(allow, resolve=resolve)

    async def get(self, url: str) -> Page:
        """Get a page, following redirections to hosts that are allowed as well.

        Raises:
            Refused: A host is not allowed, is not reached, or answers what is no text.
        """
        try:
            async with asyncio.timeout(_SECONDS), httpx2.AsyncClient(trust_env=False, limits=_ANEW) as client:
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
        address = (await self._egress.addresses(target.host, target.port))[0]
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


def _target(url: str) -> _Target:
    hint = "Write https://HOST/PATH, without a password."
    try:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or "@" in parts.netloc or any(ord(char) <= 32 for char in url):
            raise Refused(f"{url!r} is no URL that can be fetched.", hint=hint)
        host, port = split_authority(parts.netloc.rpartition("@")[2])
    except ValueError as error:
        raise Refused(f"{url!r} is no URL: {error}.", hint=hint) from None
    return _Target(parts.scheme, host, _PORTS[parts.scheme] if port is None else port)
