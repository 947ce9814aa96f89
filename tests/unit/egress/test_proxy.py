"""The proxy of sandboxes: requests for allowed hosts go through clean, everything else is refused and told."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator

import pytest
import trustme
from tests.unit.egress.loopback import ANSWER, Host, Names, Served, a_host, a_proxy, status_of

from treadle.egress.allowed import Egress
from treadle.egress.visit import Bounds

QUICK = Bounds(head_seconds=0.2, idle_seconds=0.2)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with a_host() as opened:
        yield opened


def egress_to(host: Host, names: Names | None = None) -> Egress:
    """The way to `docs.example`, which is the host."""
    names = names or Names({"docs.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]})
    return Egress.to([f"docs.example:{host.port}", f"127.0.0.1:{host.port}"], resolve=names)


@pytest.fixture
async def proxy(host: Host) -> AsyncIterator[Served]:
    async with a_proxy(egress_to(host)) as served:
        yield served


async def test_plain_request_for_an_allowed_host_goes_through(proxy: Served, host: Host) -> None:
    answer = await proxy.say(
        f"GET http://docs.example:{host.port}/a?b=c HTTP/1.1\r\nHost: docs.example:{host.port}\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nhello")
    lines = host.heard[0].split(b"\r\n")
    assert lines[:2] == [b"GET /a?b=c HTTP/1.1", b"host: docs.example:%d" % host.port]
    (contact,) = await proxy.contacts()
    assert (contact.host, contact.port, contact.refused, contact.times) == ("docs.example", host.port, "", 1)
    assert contact.sent == len(host.heard[0]) and contact.received == len(ANSWER)


async def test_body_is_carried_in_each_framing(proxy: Served, host: Host) -> None:
    head = f"POST http://docs.example:{host.port}/ HTTP/1.1\r\nHost: docs.example:{host.port}\r\n"
    assert status_of(await proxy.say(f"{head}Content-Length: 3\r\n\r\nabc".encode())) == 200
    assert status_of(await proxy.say(f"{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode())) == 200
    assert host.heard[0].endswith(b"\r\n\r\nabc")
    assert host.heard[1].startswith(b"POST / HTTP/1.1") and b"transfer-encoding: chunked" in host.heard[1].lower()


async def test_tls_through_connect_goes_through_unread(host: Host) -> None:
    authority = trustme.CA()
    inside, outside = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(inside)
    authority.issue_cert("docs.example").configure_cert(outside)
    server = await asyncio.start_server(host.attend, "127.0.0.1", 0, ssl=outside)
    host.port = server.sockets[0].getsockname()[1]
    async with a_proxy(egress_to(host)) as proxy:
        reader, writer = await proxy.connect()
        writer.write(f"CONNECT docs.example:{host.port} HTTP/1.1\r\nHost: docs.example:{host.port}\r\n\r\n".encode())
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        await writer.start_tls(inside, server_hostname="docs.example")
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.close()
        await host.ended.wait()
        assert [(one.host, one.refused) for one in await proxy.contacts()] == [("docs.example", "")]
    server.close()


async def test_plain_request_within_a_tunnel_goes_through_for_its_host_only(proxy: Served, host: Host) -> None:
    tunnel = f"CONNECT docs.example:{host.port} HTTP/1.1\r\nHost: docs.example\r\n\r\n".encode()
    for named, status in ((f"docs.example:{host.port}", 200), ("docs.example", 400), ("other.example", 400)):
        reader, writer = await proxy.connect()
        writer.write(tunnel)
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.write(f"GET /x HTTP/1.1\r\nHost: {named}\r\n\r\n".encode())
        assert status_of(await reader.read()) == status
        writer.close()
    assert [heard.split(b"\r\n")[0] for heard in host.heard] == [b"GET /x HTTP/1.1", b"", b""]


GET, POST, END = "GET http://docs.example:PORT/ HTTP/1.1", "POST http://docs.example:PORT/ HTTP/1.1", "\r\n\r\n"
HOST = "\r\nHost: docs.example:PORT"
SMUGGLED = {
    "another Host": f"{GET}\r\nHost: other.example",
    "another port in Host": f"{GET}\r\nHost: docs.example",
    "two Hosts": f"{GET}{HOST}\r\nHost: other.example",
    "Host of CONNECT": "CONNECT docs.example:PORT HTTP/1.1\r\nHost: other.example:PORT",
    "no Host": GET,
    "user in URL": "GET http://docs.example:PORT@other.example/ HTTP/1.1\r\nHost: other.example",
    "backslash": f"GET http://docs.example:PORT\\@other.example/ HTTP/1.1{HOST}",
    "escaped host": f"GET http://docs%2eexample:PORT/ HTTP/1.1{HOST}",
    "fragment": f"GET http://docs.example:PORT#@other.example/ HTTP/1.1{HOST}",
    "https in the clear": f"GET https://docs.example:PORT/ HTTP/1.1{HOST}",
    "a path": f"GET /etc/passwd HTTP/1.1{HOST}",
    "a file": f"GET file:///etc/passwd HTTP/1.1{HOST}",
    "two lengths": f"{POST}{HOST}\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    "length and chunks": f"{POST}{HOST}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0",
    "strange coding": f"{POST}{HOST}\r\nTransfer-Encoding: xchunked\r\n\r\n0",
    "space before colon": f"{GET}\r\nHost : docs.example:PORT",
    "NUL in a header": f"{GET}{HOST}\r\nX: a\0b",
    "bare CR in a header": f"{GET}{HOST}\r\nX: a\rGET /b",
    "no port": "CONNECT docs.example HTTP/1.0",
    "port out of bounds": "CONNECT docs.example:99999 HTTP/1.0",
    "port in other digits": "CONNECT docs.example:\u0664\u0664\u0663 HTTP/1.0",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM",
    "SOCKS": "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
    "garbage": "\x00\xff\xfe",
}


@pytest.mark.parametrize("request_", SMUGGLED.values(), ids=SMUGGLED.keys())
async def test_request_that_says_two_things_or_none_reaches_nobody(proxy: Served, host: Host, request_: str) -> None:
    answer = await proxy.say(f"{request_}{END}".replace("PORT", str(host.port)).encode())
    assert status_of(answer) == 400 and host.heard == []
    (contact,) = await proxy.contacts()
    assert contact.refused.startswith("Refused: ")


async def test_only_the_first_request_of_a_connection_is_carried(proxy: Served, host: Host) -> None:
    one = f"GET http://docs.example:{host.port}/1 HTTP/1.1\r\nHost: docs.example:{host.port}\r\n\r\n"
    hidden = "GET /2 HTTP/1.1\r\nHost: other.example\r\n\r\n"
    answer = await proxy.say((one + hidden).encode())
    assert answer.count(b"HTTP/1.1") == 1 and b"/2" not in host.heard[0]


async def test_what_is_for_the_proxy_alone_does_not_go_on(proxy: Served, host: Host) -> None:
    head = f"GET http://docs.example:{host.port}/ HTTP/1.1\r\nHost: docs.example:{host.port}\r\n"
    secret = (
        "Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nConnection: X-Mine, Content-Length\r\n"
    )
    await proxy.say(f"{head}{secret}X-Mine: 1\r\nUpgrade: websocket\r\nTE: trailers\r\nX-Kept: 2\r\n\r\n".encode())
    names = {line.split(b":")[0].lower() for line in host.heard[0].split(b"\r\n")[1:] if line}
    assert names == {b"host", b"x-kept", b"connection"}


@pytest.mark.parametrize(
    "asked",
    ["other.example", "10.0.0.1", "169.254.169.254", "[::1]", "0.0.0.0", "localhost", "127.0.0.2", "docs.example.evil"],
)
async def test_host_that_is_not_listed_is_not_reached(proxy: Served, host: Host, asked: str) -> None:
    plain = f"GET http://{asked}:{host.port}/ HTTP/1.1\r\nHost: {asked}:{host.port}\r\n\r\n"
    for request in (plain, f"CONNECT {asked}:{host.port} HTTP/1.1\r\nHost: {asked}\r\n\r\n"):
        answer = await proxy.say(request.encode())
        assert status_of(answer) == 403 and b"is not among the hosts that may be reached" in answer
    assert host.heard == []
    assert [(one.host, one.times) for one in await proxy.contacts()] == [(asked.strip("[]"), 2)]


@pytest.mark.parametrize("spelling", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "127.0.0.1%00", "127.0.0.01"])
async def test_other_spellings_of_an_address_are_refused(proxy: Served, host: Host, spelling: str) -> None:
    request = f"CONNECT {spelling}:{host.port} HTTP/1.0\r\n\r\n"
    assert status_of(await proxy.say(request.encode())) == 400 and host.heard == []


async def test_tls_that_names_another_host_is_refused(proxy: Served, host: Host) -> None:
    for named in ("other.example", None):
        reader, writer = await proxy.connect()
        writer.write(f"CONNECT docs.example:{host.port} HTTP/1.0\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(hello_for(named))
        assert await reader.read() == b""
        writer.close()
    assert set(host.heard) == {b""}
    assert sorted(one.refused.partition(" asks ")[2] for one in await proxy.contacts()) == [
        "for no host, and the tunnel leads to docs.example.",
        "for other.example, and the tunnel leads to docs.example.",
    ]


def hello_for(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("begun", [b"", b"GET http://docs", b"CONNECT docs.example:PORT HTTP/1.0\r\n\r\n", b"TLS"])
async def test_client_that_never_comes_to_the_point_is_let_go(host: Host, begun: bytes) -> None:
    async with a_proxy(egress_to(host), QUICK) as proxy:
        reader, writer = await proxy.connect()
        connect = b"CONNECT docs.example:%d HTTP/1.0\r\n\r\n" % host.port
        writer.write(
            connect + hello_for("docs.example")[:40] if begun == b"TLS" else begun.replace(b"PORT", b"%d" % host.port)
        )
        await reader.read()
        writer.close()
        assert [one.refused for one in await proxy.contacts()] == ["It took too long."]
    assert set(host.heard) <= {b""}


async def test_host_that_never_answers_is_let_go(host: Host) -> None:
    host.answer = b""
    async with a_proxy(egress_to(host), QUICK) as proxy:
        answer = await proxy.say(f"GET http://docs.example:{host.port}/ HTTP/1.0\r\n\r\n".encode())
        assert status_of(answer) == 408


async def test_host_that_answers_garbage_is_not_believed(host: Host) -> None:
    host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    async with a_proxy(egress_to(host)) as proxy:
        assert status_of(await proxy.say(f"GET http://docs.example:{host.port}/ HTTP/1.0\r\n\r\n".encode())) == 400


async def test_host_that_does_not_listen_is_told(host: Host) -> None:
    egress = Egress.to(["127.0.0.1:1"])
    async with a_proxy(egress) as proxy:
        assert status_of(await proxy.say(b"GET http://127.0.0.1:1/ HTTP/1.0\r\n\r\n")) == 502
        assert [one.host for one in await proxy.contacts()] == ["127.0.0.1"]


async def test_bytes_of_all_connections_are_bounded(host: Host) -> None:
    host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000
    request = f"GET http://docs.example:{host.port}/ HTTP/1.0\r\n\r\n".encode()
    async with a_proxy(egress_to(host), Bounds(carried_bytes=600_000)) as proxy:
        assert len(await proxy.say(request)) > 400_000
        assert len(await proxy.say(request)) < 300_000
        assert "may carry no more" in (await proxy.contacts())[-1].refused


async def test_connections_are_bounded_at_once_and_in_all(host: Host) -> None:
    async with a_proxy(egress_to(host), Bounds(at_once=1, in_all=3, head_seconds=0.3)) as proxy:
        idle = await proxy.connect()
        answer = await proxy.say(f"GET http://docs.example:{host.port}/ HTTP/1.0\r\n\r\n".encode())
        assert status_of(answer) == 200  # it waited until the idle one was let go
        idle[1].close()
        await proxy.say(b"x\r\n\r\n")
        await proxy.serving
        assert "may make no more" in proxy.proxy.contacts[-1].refused


async def test_end_of_the_proxy_ends_its_connections(host: Host) -> None:
    before = asyncio.all_tasks()
    async with a_proxy(egress_to(host)) as proxy:
        reader, writer = await proxy.connect()
        writer.write(f"CONNECT docs.example:{host.port} HTTP/1.0\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(hello_for("docs.example"))
        await writer.drain()
    with pytest.raises(ConnectionError):
        while True:
            writer.write(b"x")
            await writer.drain()
    await host.ended.wait()
    assert {task for task in asyncio.all_tasks() - before if "Proxy" in repr(task)} == set()


async def test_contacts_are_bounded_whatever_is_asked_for(host: Host) -> None:
    async with a_proxy(egress_to(host)) as proxy:
        await asyncio.gather(*(proxy.say(f"CONNECT h{n}.example:443 HTTP/1.0\r\n\r\n".encode()) for n in range(120)))
        assert len(await proxy.contacts()) == 100


async def test_side_that_breaks_off_is_no_refusal(proxy: Served, host: Host) -> None:
    host.answer = b""
    reader, writer = await proxy.connect()
    writer.write(f"CONNECT docs.example:{host.port} HTTP/1.0\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    writer.write(hello_for("docs.example"))
    await host.began.wait()
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # ends with a reset
    writer.transport.abort()
    await host.ended.wait()
    assert [one.refused for one in await proxy.contacts()] == [""]
