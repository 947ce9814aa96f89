"""What a request to the proxy asks for, and what of it goes on. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from treadle.domain.hosts import split_authority

Headers = list[tuple[bytes, bytes]]
_PLAIN = 80
_FRAMING = (b"content-length", b"transfer-encoding")
_OF_ONE_HOP = frozenset(
    b"connection proxy-connection proxy-authorization proxy-authenticate keep-alive te trailer upgrade host".split()
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request is to go."""

    host: str
    port: int
    path: bytes = b""
    """Of a plain request, with its query."""


def asked_for(request: h11.Request, tunnel: Target | None = None) -> Target:
    """The target of a request: by CONNECT, or plain with the whole URL; within a tunnel plain with the path alone.

    Raises:
        ValueError: It names none, or two different ones, or its body has two ends.
    """
    text = request.target.decode("ascii")
    headers = dict(request.headers)
    if all(name in headers for name in _FRAMING):
        raise ValueError("the request says in two ways how long it is")
    if tunnel is None and request.method == b"CONNECT":
        host, port = split_authority(text)
        if port is None:
            raise ValueError(f"CONNECT to {text} without a port")
        target = Target(host, port)
    elif tunnel is None:
        target = _of_url(text)
    elif text.startswith("/"):
        target = Target(tunnel.host, tunnel.port, request.target)
    else:
        raise ValueError("a request in a tunnel asks for something else than a path")
    _refuse_other_host(headers, target, request.method == b"CONNECT")
    return target


def _of_url(text: str) -> Target:
    parts = urlsplit(text)
    if parts.scheme != "http" or "#" in text:
        raise ValueError("it is no request to a proxy: it wants http://HOST/PATH, or CONNECT HOST:PORT")
    host, port = split_authority(parts.netloc)
    path = text[text.index("://") + 3 + len(parts.netloc) :]
    return Target(host, _PLAIN if port is None else port, (path if path.startswith("/") else f"/{path}").encode())


def _refuse_other_host(headers: dict[bytes, bytes], target: Target, is_connect: bool) -> None:
    if b"host" not in headers:
        return
    host, port = split_authority(headers[b"host"].decode("ascii"))
    if port is None:
        port = target.port if is_connect else _PLAIN
    if (host, port) != (target.host, target.port):
        raise ValueError(f"the header Host names {host}:{port}, and not {target.host}:{target.port}")


def onward(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers without those that are for the proxy alone; one exchange is all that a connection carries."""
    given = list(headers)
    named = {word.strip().lower() for name, value in given if name == b"connection" for word in value.split(b",")}
    dropped = (_OF_ONE_HOP | named) - set(_FRAMING)
    return [*((name, value) for name, value in given if name not in dropped), (b"connection", b"close")]
