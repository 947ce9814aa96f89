"""The first words of a TLS client: which host it names. Read strictly: what is not understood is not passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

HANDSHAKE = 0x16
"""The first byte of every TLS client."""
_CLIENT_HELLO = 1
_LONGEST = 16 * 1024
_RECORD_HEAD = 5
_LARGEST_RECORD = 1 << 14
_SERVER_NAME, _ENCRYPTED_HELLO = 0, 0xFE0D


class _Bytes:
    """Bytes that are taken from the front. Raises ValueError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise ValueError("it ends too early")
        self._at += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Bytes:
        """What follows its length, which takes `size` bytes."""
        return _Bytes(self.take(self.number(size)))

    def is_over(self) -> bool:
        return self._at == len(self._data)

    def rest(self) -> bytes:
        return self._data[self._at :]


async def read_hello(reader: asyncio.StreamReader, first: bytes) -> tuple[bytes, str]:
    """Read until the client has said hello: all bytes that came, and the host that it names, or an empty text.

    `first`: what was read already, at least one byte.

    Raises:
        ValueError: It is no ClientHello, or one that hides or doubles the host.
    """
    data = first
    while (message := _message(data)) is None:
        if len(data) > _LONGEST:
            raise ValueError("it is too long")
        more = await reader.read(_LONGEST)
        if not more:
            raise ValueError("it ends too early")
        data += more
    return data, server_name(message)


def _message(data: bytes) -> bytes | None:
    """The ClientHello in the records that came; None if it is not whole yet."""
    said, left = b"", data
    while len(left) >= _RECORD_HEAD:
        kind, major, length = left[0], left[1], int.from_bytes(left[3:5], "big")
        if kind != HANDSHAKE or major != 3 or not 0 < length <= _LARGEST_RECORD:
            raise ValueError("it is no TLS")
        said += left[_RECORD_HEAD : _RECORD_HEAD + length]
        if said[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise ValueError("it does not begin with a ClientHello")
        if len(said) >= 4 and len(said) - 4 >= (wanted := int.from_bytes(said[1:4], "big")):
            return said[4 : 4 + wanted]
        left = left[_RECORD_HEAD + length :]
    return None


def server_name(hello: bytes) -> str:
    """The host that a ClientHello names; empty if it names none. Raises ValueError."""
    body = _Bytes(hello)
    body.take(2 + 32)
    body.vector(1)
    body.vector(2)
    body.vector(1)
    names: list[str] = []
    seen: set[int] = set()
    for kind, content in _extensions(body):
        if kind in seen:
            raise ValueError("an extension comes twice")
        seen.add(kind)
        if kind == _ENCRYPTED_HELLO:
            raise ValueError("it hides the host (Encrypted Client Hello)")
        if kind == _SERVER_NAME:
            names += _names(content)
    if len(names) > 1:
        raise ValueError("it names several hosts")
    return names[0] if names else ""


def _extensions(body: _Bytes) -> Iterator[tuple[int, _Bytes]]:
    if body.is_over():
        return
    extensions = body.vector(2)
    if not body.is_over():
        raise ValueError("something follows it")
    while not extensions.is_over():
        yield extensions.number(2), extensions.vector(2)


def _names(content: _Bytes) -> Iterator[str]:
    entries = content.vector(2)
    if not content.is_over():
        raise ValueError("something follows the host")
    while not entries.is_over():
        if entries.number(1) != 0:
            raise ValueError("it names no host but something else")
        yield entries.vector(2).rest().decode("ascii")
