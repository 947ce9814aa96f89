"""Whatever a command puts together, a host hears one clean request for itself, and nothing behind it."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.egress.loopback import Names, a_host, a_proxy

from treadle.egress.allowed import Egress

PIECES = [
    b"GET ", b"POST ", b"CONNECT ", b"HEAD ", b"http://docs.example:PORT/a", b"http://docs.example:PORT", b"/b", b"*",
    b"http://other.example/", b"docs.example:PORT", b"other.example:PORT", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n",
    b" HTTP/1.1\n", b"Host: docs.example:PORT\r\n", b"Host: other.example\r\n", b"Host:docs.example:PORT\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n", b"Connection: Content-Length, Host\r\n", b"Expect: 100-continue\r\n",
    b" folded\r\n", b"X: y\r\n", b"X: a\rHost: other.example\r\n", b"5\r\nhello\r\n", b"5;a=b\nhello\r\n", b"0\r\n",
    b"\r\n", b"\n", b"\r", b"\0", b"hello", b"\x16\x03\x01\x00\x05", b"\xff",
]  # fmt: skip
WHOLE = (b"POST http://docs.example:PORT/a HTTP/1.1\r\n", b"Host: docs.example:PORT\r\n")
REQUESTS = st.lists(st.sampled_from(PIECES), max_size=14).map(tuple)
HEADERS = st.lists(st.sampled_from([piece for piece in PIECES if b": " in piece and b"Host:" not in piece]), max_size=3)
LIKELY = st.builds(lambda some, more: (*WHOLE, *some, b"\r\n", *more), HEADERS | REQUESTS, REQUESTS)
LINE = re.compile(rb"[!-~]+ /[!-~]* HTTP/1\.1")
HEADER = re.compile(rb"([^\x00-\x20:]+): ?([^\x00-\x08\x0a-\x1f]*)")
CHUNKS = re.compile(rb"(?:[0-9a-f]+\r\nhello\r\n)*(?:0\r\n(?:\r\n)?)?", re.IGNORECASE)


def check(heard: bytes, port: int) -> None:
    """An own reading of what a host heard, stricter than any server's."""
    head, end, body = heard.partition(b"\r\n\r\n")
    if not end:
        assert heard == b"", heard
        return
    first, *lines = head.split(b"\r\n")
    assert LINE.fullmatch(first), heard
    found = [HEADER.fullmatch(line) for line in lines]
    assert all(found), heard
    headers = [(one[1].lower(), one[2]) for one in found if one is not None]
    assert [value for name, value in headers if name == b"host"] == [b"docs.example:%d" % port], heard
    lengths = [(name, value) for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    assert len(lengths) < 2, heard
    if not lengths:
        assert body == b"", heard
    elif lengths[0][0] == b"content-length":
        assert len(body) <= int(lengths[0][1]), heard
    else:
        assert CHUNKS.fullmatch(body), heard


async def heard_of(pieces: tuple[bytes, ...]) -> tuple[list[bytes], int]:
    async with a_host() as host:
        names = Names({"docs.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]})
        async with a_proxy(Egress.to([f"docs.example:{host.port}", f"127.0.0.1:{host.port}"], resolve=names)) as proxy:
            reader, writer = await proxy.connect()
            writer.write(b"".join(pieces).replace(b"PORT", b"%d" % host.port))
            writer.write_eof()
            try:
                while await reader.read(65536):
                    pass
            except ConnectionError:
                pass
            writer.close()
        return host.heard, host.port


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=REQUESTS | LIKELY)
def test_host_hears_one_clean_request_or_nothing(caplog: pytest.LogCaptureFixture, pieces: tuple[bytes, ...]) -> None:
    with caplog.at_level(logging.ERROR):
        heard, port = asyncio.run(heard_of(pieces))
    assert caplog.records == []  # nothing failed in a way that was not foreseen
    for one in heard:
        check(one, port)


def test_check_itself_sees_what_must_not_be() -> None:
    clean = b"POST / HTTP/1.1\r\nHost: docs.example:1\r\nContent-Length: 5\r\n\r\nhello"
    check(clean, 1)
    for wrong in (
        clean + b"GET / HTTP/1.1\r\n\r\n",
        clean.replace(b"Host: docs", b"Host: other"),
        clean.replace(b"POST /", b"POST http://docs.example/"),
        clean.replace(b"Content-Length: 5", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
        clean.replace(b"\r\nContent", b"\nContent"),
    ):
        with pytest.raises(AssertionError):
            check(wrong, 1)
