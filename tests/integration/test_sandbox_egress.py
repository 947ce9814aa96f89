"""A sandbox with an allow-list reaches the hosts of the list, and nothing else, whatever a command tries.

`test_sandbox_as_user.py` runs this file again as an ordinary user. Everything is on loopback; names are the test's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from tests.unit.egress.loopback import Host, Names, a_host

from treadle.egress.allowed import Egress
from treadle.errors import SandboxUnavailable
from treadle.ports.sandbox import MIB, Contact, ExecResult, Guarantee, Limits, Sandbox, Spawning
from treadle.sandboxes.choose import open_sandbox, probe

LIMITS = Limits(wall_seconds=20.0, memory_bytes=256 * MIB, processes=24)


@dataclass
class Stage:
    """A sandbox that may reach `docs.example` at one port, and what else there is on this host."""

    sandbox: Sandbox
    allowed: Host
    forbidden: Host
    names: Names

    async def python(self, code: str, *arguments: object) -> ExecResult:
        argv = ["python", "-S", "-c", code, *map(str, arguments)]
        return await self.sandbox.exec(argv, limits=LIMITS)

    async def get(self, url: str, *more: str) -> ExecResult:
        """Get a page as programs do, by the proxy that the environment names."""
        return await self.python(GET, url, *more)


GET = """
import ssl, sys, urllib.request, urllib.error
context = ssl.create_default_context(cafile=sys.argv[2]) if len(sys.argv) > 2 else None
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=10, context=context).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("failed:", error)
"""


@pytest.fixture
def backend() -> str:
    return "bubblewrap"


each = pytest.mark.parametrize("backend", ["bubblewrap", "docker"])


@pytest.fixture
async def stage(tmp_path: Path, backend: str) -> AsyncIterator[Stage]:
    (tmp_path / "workspace").mkdir()
    names = Names({"docs.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]], "localhost": [["127.0.0.1"]]})
    async with a_host() as allowed, a_host() as forbidden:
        egress = Egress.to([f"docs.example:{allowed.port}", f"127.0.0.1:{allowed.port}"], resolve=names)
        try:
            sandbox = await open_sandbox(tmp_path / "workspace", backend=backend, egress=egress)
        except SandboxUnavailable as error:
            pytest.skip(f"{backend} does not work here: {error}")
        yield Stage(sandbox, allowed, forbidden, names)
        await sandbox.close()


@each
async def test_page_of_an_allowed_host_is_read_and_told(stage: Stage) -> None:
    result = await stage.get(f"http://docs.example:{stage.allowed.port}/page")
    assert result.stdout == "hello\n", result
    assert stage.allowed.heard[0].startswith(b"GET /page HTTP/1.1\r\n")
    (contact,) = result.contacts
    assert (contact.host, contact.port, contact.refused) == ("docs.example", stage.allowed.port, "")
    assert contact.sent > 0 and contact.received > 0
    assert stage.names.asked == ["docs.example"]


async def test_page_comes_over_tls_by_a_certificate_that_is_checked_inside(stage: Stage) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(stage.sandbox.workspace / "ca.pem"))
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("docs.example").configure_cert(outside)
    server = await asyncio.start_server(stage.allowed.attend, "127.0.0.1", 0, ssl=outside)
    port = server.sockets[0].getsockname()[1]
    egress = Egress.to([f"docs.example:{port}", f"127.0.0.1:{port}"], resolve=stage.names)
    stage.sandbox = await open_sandbox(stage.sandbox.workspace, backend="bubblewrap", egress=egress)
    assert (await stage.get(f"https://docs.example:{port}/", "ca.pem")).stdout == "hello\n"
    assert "certificate verify failed" in (await stage.get(f"https://docs.example:{port}/")).stdout
    server.close()


async def test_listed_address_of_this_machine_is_reached_without_further_ado(stage: Stage) -> None:
    assert (await stage.get(f"http://127.0.0.1:{stage.allowed.port}/")).stdout == "hello\n"


@pytest.mark.parametrize("host", ["other.example", "169.254.169.254", "10.0.0.1", "[::1]", "[fe80::1]"])
async def test_other_hosts_are_refused_and_told(stage: Stage, host: str) -> None:
    for port in (stage.forbidden.port, stage.allowed.port):
        result = await stage.get(f"http://{host}:{port}/")
        assert result.stdout.startswith("403") and "not among the hosts" in result.stdout
        assert [(one.host, bool(one.refused)) for one in result.contacts] == [(host.strip("[]"), True)]
    assert stage.forbidden.heard == stage.allowed.heard == []


async def test_other_port_of_an_allowed_host_is_refused(stage: Stage) -> None:
    assert (await stage.get(f"http://docs.example:{stage.forbidden.port}/")).stdout.startswith("403")
    assert "Tunnel connection failed: 403" in (await stage.get("https://docs.example/")).stdout
    assert stage.forbidden.heard == []


async def test_name_that_changes_its_address_leads_nowhere_else(stage: Stage) -> None:
    """What was checked is what is connected to; the next time it is checked again."""
    stage.names.answers["docs.example"] = [["127.0.0.1"], ["127.0.0.2"], ["169.254.169.254"], ["127.0.0.1", "::1"]]
    url = f"http://docs.example:{stage.allowed.port}/"
    assert (await stage.get(url)).stdout == "hello\n"
    for _ in range(3):
        assert "an address of this machine or a private network" in (await stage.get(url)).stdout
    assert len(stage.names.asked) == 4 and len(stage.allowed.heard) == 1


async def test_redirection_to_another_host_is_refused(stage: Stage) -> None:
    location = f"http://127.0.0.1:{stage.forbidden.port}/"
    stage.allowed.answer = f"HTTP/1.1 302 -\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    result = await stage.get(f"http://docs.example:{stage.allowed.port}/")
    assert result.stdout.startswith("403") and stage.forbidden.heard == []
    assert [bool(one.refused) for one in result.contacts] == [False, True]


ATTEMPTS = """
import os, socket, sys, urllib.parse
proxy = urllib.parse.urlsplit(os.environ.get("http_proxy", "")).port
allowed, forbidden, abstract, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
def tcp(address, port, family=socket.AF_INET):
    if port == proxy:
        raise OSError("the call's own proxy, which by chance has the number of a port outside")
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect((address, port))
def udp(address, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.sendto(bytes.fromhex("abcd01000001000000000000") + b"\\x04docs\\x07example\\0\\0\\1\\0\\1", (address, port))
        one.recv(512)
def unix(address):
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(address)
def raw(*kind):
    socket.socket(*kind).close()
def vsock():
    with socket.socket(40, socket.SOCK_STREAM) as one:
        one.connect((2, 1024))
for attempt in (
    lambda: tcp("127.0.0.1", allowed), lambda: tcp("127.0.0.1", forbidden), lambda: tcp("127.0.0.2", allowed),
    lambda: tcp("::1", allowed, socket.AF_INET6), lambda: tcp("fe80::1", 80, socket.AF_INET6),
    lambda: tcp("::ffff:127.0.0.1", allowed, socket.AF_INET6),
    lambda: tcp("10.0.0.1", 80), lambda: tcp("169.254.169.254", 80), lambda: tcp("192.0.2.1", 53),
    lambda: udp("127.0.0.53", 53), lambda: udp("192.0.2.1", 53), lambda: udp("224.0.0.251", 5353),
    lambda: udp("127.0.0.1", forbidden), lambda: udp("255.255.255.255", 67),
    lambda: socket.getaddrinfo("docs.example", 80), lambda: socket.gethostbyname("other.example"),
    lambda: unix("\\0" + abstract), lambda: unix(path),
    lambda: raw(socket.AF_INET, socket.SOCK_RAW, 1), lambda: raw(17, socket.SOCK_RAW), vsock,
):
    try:
        attempt()
    except OSError:
        continue
    print("worked:", attempt.__code__.co_names, attempt.__code__.co_consts)
print(sorted(set(os.listdir("/sys/class/net")) if os.path.isdir("/sys/class/net") else []))
"""


@each
async def test_there_is_no_way_but_by_the_proxy(stage: Stage, tmp_path: Path) -> None:
    abstract = f"treadle-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as nameless:
        named.bind(str(tmp_path / "host.sock"))
        nameless.bind(f"\0{abstract}")
        named.listen()
        nameless.listen()
        result = await stage.python(
            ATTEMPTS, stage.allowed.port, stage.forbidden.port, abstract, tmp_path / "host.sock"
        )
        assert result.exit_code == 0 and "worked" not in result.stdout, result
        assert result.contacts == () and stage.allowed.heard == stage.forbidden.heard == [] == stage.names.asked
        outside = await open_sandbox(stage.sandbox.workspace, backend="none")
        argv = ["python", "-S", "-c", ATTEMPTS, str(stage.allowed.port), str(stage.forbidden.port), abstract]
        assert (await outside.exec([*argv, str(tmp_path / "host.sock")])).stdout.count("worked") >= 5


async def test_garbage_to_the_proxy_ends_in_a_refusal_and_nothing_else(stage: Stage) -> None:
    code = """
import os, socket, urllib.parse
port = urllib.parse.urlsplit(os.environ["http_proxy"]).port
def say(data):
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(data)
        return one.recv(64)
end = b"\\r\\n\\r\\n"
for data in (b"\\0" * 99 + end, b"\\x05\\1\\0" + end, b"GET / HTTP/1.1\\r\\nHost: x" + end, b"A" * 40000):
    try: print(say(data)[:12].decode())
    except ConnectionError: print("cut")
"""
    result = await stage.python(code)
    assert [line for line in result.stdout.splitlines() if line not in ("HTTP/1.1 400", "HTTP/1.1 431", "cut")] == []
    assert all(contact.refused for contact in result.contacts)
    assert (await stage.get(f"http://docs.example:{stage.allowed.port}/")).stdout == "hello\n"


@each
async def test_nothing_of_the_way_out_outlives_the_call(stage: Stage) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    tasks, descriptors = asyncio.all_tasks(), opened()
    code = "import os, socket; print(os.environ['http_proxy']); os.listdir('/proc/self/fd')"
    first, second = await stage.python(code), await stage.python(code)
    assert asyncio.all_tasks() == tasks and opened() == descriptors
    port = int(second.stdout.strip().rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
    assert first.exit_code == second.exit_code == 0


@each
async def test_call_that_is_cancelled_while_it_talks_leaves_nothing(stage: Stage) -> None:
    tasks, descriptors = asyncio.all_tasks(), len(os.listdir("/proc/self/fd"))
    stage.allowed.answer = b""
    call = asyncio.ensure_future(stage.get(f"http://docs.example:{stage.allowed.port}/"))
    await stage.allowed.began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await stage.allowed.ended.wait()
    left = {task for task in asyncio.all_tasks() - tasks if "attend" not in repr(task)}
    assert left == set() and len(os.listdir("/proc/self/fd")) <= descriptors + 1


@each
async def test_command_inherits_nothing_of_the_way_out(stage: Stage) -> None:
    result = await stage.sandbox.exec(["sh", "-c", "ls /proc/self/fd; trap -p; grep -i sigign /proc/self/status"])
    plain = await open_sandbox(stage.sandbox.workspace, backend=stage.sandbox.name)
    without = await plain.exec(["sh", "-c", "ls /proc/self/fd; trap -p; grep -i sigign /proc/self/status"])
    assert result.stdout == without.stdout
    assert "proxy" not in (await plain.exec(["env"])).stdout.lower()


@each
@pytest.mark.parametrize(
    ("argv", "code"), [(["nothing-of-this-name"], 127), (["/etc/hosts"], 126), (["sh", "-c", "exit 7"], 7)]
)
async def test_codes_of_commands_stay_what_they_are(stage: Stage, argv: list[str], code: int) -> None:
    assert (await stage.sandbox.exec(argv)).exit_code == code


async def test_certificates_that_all_trust_are_there_and_keys_are_not(stage: Stage) -> None:
    seen = await stage.sandbox.exec(["sh", "-c", "ls /etc/ssl /etc/pki 2>/dev/null"])
    assert "private" not in seen.stdout
    assert not Path("/etc/ssl/certs").is_dir() or "certs" in seen.stdout.split()


async def test_server_inside_is_still_found_by_its_clients(stage: Stage) -> None:
    code = """
import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(("localhost", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(f"http://localhost:{server.server_port}/").status)
"""
    assert (await stage.python(code)).stdout == "200\n"


@each
async def test_process_that_goes_on_has_the_same_way_out(stage: Stage) -> None:
    assert isinstance(stage.sandbox, Spawning)
    process = await stage.sandbox.spawn(["python", "-S", "-c", GET, f"http://docs.example:{stage.allowed.port}/"])
    assert await process.read() == b"hello\n"
    assert (await process.wait()).contacts[0].host == "docs.example"
    await process.end()


async def test_guarantee_says_which_it_is(stage: Stage, tmp_path: Path) -> None:
    assert Guarantee.ALLOW_LIST in stage.sandbox.guarantees and Guarantee.NO_NETWORK not in stage.sandbox.guarantees
    plain = await open_sandbox(tmp_path / "workspace", backend="bubblewrap")
    assert Guarantee.ALLOW_LIST not in plain.guarantees and Guarantee.NO_NETWORK in plain.guarantees
    told = {one.name: one.guarantees for one in await probe()}
    assert {Guarantee.ALLOW_LIST, Guarantee.NO_NETWORK} <= told["bubblewrap"]
    assert Guarantee.ALLOW_LIST not in told["landlock"] | told["none"]


@pytest.mark.parametrize("backend", ["landlock", "none"])
async def test_backend_that_cannot_hold_a_list_refuses_one(tmp_path: Path, backend: str) -> None:
    with pytest.raises(SandboxUnavailable, match="can hold commands to the allowed hosts") as refused:
        await open_sandbox(tmp_path, backend=backend, egress=Egress.to(["pypi.org"]))
    assert "allow list" in refused.value.hint


async def test_tool_tells_model_and_log_what_was_refused(stage: Stage) -> None:
    from treadle.ports.tool import ToolContext
    from treadle.tools import call_tool
    from treadle.tools.shell import bash

    (stage.sandbox.workspace / "get.py").write_text(GET)
    command = f"python get.py http://other.example/; python get.py http://docs.example:{stage.allowed.port}/"
    result = await call_tool(bash, {"command": command}, ToolContext(stage.sandbox))
    assert "[network: other.example:80 is not among the hosts that may be reached" in result.text
    told = [Contact(**one) for one in json.loads(json.dumps(result.data))["network"]]
    assert [(one.host, bool(one.refused)) for one in told] == [("other.example", True), ("docs.example", False)]
