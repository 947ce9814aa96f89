"""The first words of TLS clients: real ones are understood however they are cut, others are refused."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.egress.test_proxy import hello_for

from treadle.egress.client_hello import read_hello, server_name

HELLO = hello_for("docs.example")


async def read(data: bytes, first: int = 1) -> tuple[bytes, str]:
    reader = asyncio.StreamReader()
    reader.feed_data(data[first:])
    reader.feed_eof()
    return await read_hello(reader, data[:first])


def in_records(message: bytes, size: int) -> bytes:
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@pytest.mark.parametrize("size", [1, 3, 7, 100, 16384])
async def test_name_is_found_however_the_hello_is_cut(size: int) -> None:
    cut = in_records(HELLO[5:], size)
    for first in (1, 4, 6, len(cut)):
        assert await read(cut, first) == (cut, "docs.example")


async def test_what_follows_the_hello_is_kept() -> None:
    assert await read(HELLO + b"more") == (HELLO + b"more", "docs.example")


async def test_client_that_names_nobody_is_told_from_one_that_does() -> None:
    assert (await read(hello_for(None)))[1] == ""


def with_extension(kind: int, content: bytes) -> bytes:
    """A small ClientHello with the name of docs.example and one more extension."""
    name = b"docs.example"
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    names = len(entry).to_bytes(2, "big") + entry
    extensions = b"\0\0" + len(names).to_bytes(2, "big") + names
    extensions += kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content
    head = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    return head + len(extensions).to_bytes(2, "big") + extensions


@pytest.mark.parametrize(
    ("kind", "content", "why"),
    [
        (0, b"\0\7\0\0\4evil", "twice"),
        (0xFE0D, b"\0\0\1\0\1\0\0\x20" + bytes(32), "hides the host"),
    ],
)
def test_hello_that_doubles_or_hides_the_host_is_refused(kind: int, content: bytes, why: str) -> None:
    assert server_name(with_extension(0x10, b"")) == "docs.example"
    with pytest.raises(ValueError, match=why):
        server_name(with_extension(kind, content))


def test_hello_with_two_names_or_something_behind_it_is_refused() -> None:
    whole = with_extension(0x10, b"")
    two = b"\0\0\4evil" * 2
    names = len(two).to_bytes(2, "big") + two
    twice = whole[:44] + (len(names) + 4).to_bytes(2, "big") + b"\0\0" + len(names).to_bytes(2, "big") + names
    with pytest.raises(ValueError):
        server_name(twice)
    with pytest.raises(ValueError, match="follows"):
        server_name(whole + b"x")


@pytest.mark.parametrize(
    "data", [b"\x16", b"\x16\x03\x01\x00\x00", b"\x16\x02\x00\x00\x05xxxxx", b"\x16\x03\x01\x00\x04\x02abc"]
)
async def test_what_is_no_hello_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        await read(data)


async def test_hello_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        await read(in_records(b"\1\xff\xff\xff" + bytes(40_000), 16384))


@given(st.binary(max_size=200), st.integers(0, len(HELLO) - 5), st.integers(0, 40))
def test_any_bytes_are_a_hello_or_a_value_error(noise: bytes, at: int, dropped: int) -> None:
    broken = HELLO[5:]
    broken = broken[:at] + noise + broken[at + dropped :]
    try:
        server_name(broken[4:])
    except ValueError:
        pass
