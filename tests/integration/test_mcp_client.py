"""Tools of real MCP servers: programs in the sandbox, servers on loopback, and servers that mean no good."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle.domain.trace import traceparent
from treadle.errors import ConfigError, McpUnavailable, SandboxUnavailable
from treadle.ports.sandbox import Sandbox
from treadle.ports.tool import Tool, ToolContext, ToolResult
from treadle.sandboxes import choose
from treadle.settings import Settings, load_settings
from treadle.stores.memory import MemoryStore
from treadle.tools import call_tool
from treadle.tools.mcp import McpSource

HERE = Path(__file__).parent
FRIENDLY, HOSTILE = HERE / "mcp_friendly.py", HERE / "mcp_hostile.py"
Make = Callable[..., McpSource]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / ".treadle").mkdir(parents=True)
    (tmp_path / "home" / ".config" / "treadle").mkdir(parents=True)
    return tmp_path / "project"


@pytest.fixture
async def sandbox(project: Path) -> AsyncIterator[Sandbox]:
    try:
        opened = await choose.open_sandbox(project, backend="bubblewrap")
    except SandboxUnavailable as error:
        pytest.skip(f"bubblewrap does not work here: {error}")
    yield opened
    await opened.close()


def settings_with(project: Path, table: str, *, of_user: bool = True, **environ: str) -> Settings:
    home = project.parent / "home"
    file = home / ".config" / "treadle" / "treadle.toml" if of_user else project / "treadle.toml"
    file.write_text(f"[mcp.servers.x]\n{table}\n")
    return load_settings(project, environ={"HOME": str(home), **environ})


@pytest.fixture
async def source(project: Path) -> AsyncIterator[Make]:
    made: list[McpSource] = []

    def make(table: str, **more: Any) -> McpSource:
        settings = settings_with(project, table, **more)
        made.append(McpSource(settings.mcp.servers["x"], settings, choose.open_sandbox))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def hostile(mode: str, more: str = "") -> str:
    return f'command = "python"\nargs = ["-S", "{HOSTILE}", "{mode}"]\nreads = ["{HERE}"]\nstart_seconds = 8\n{more}'


async def tool_of(source: McpSource, sandbox: Sandbox, name: str) -> Tool:
    offers = {offer.tool: offer for offer in await source.offers(sandbox)}
    return source.tool(offers[name])


async def call(tool: Tool, sandbox: Sandbox, **args: Any) -> ToolResult:
    return await call_tool(tool, args, ToolContext(sandbox, blobs=MemoryStore()))


async def test_a_server_works_in_the_sandbox_over_stdio(source: Make, sandbox: Sandbox, project: Path) -> None:
    table = f'command = "python"\nargs = ["{FRIENDLY}"]\nreads = ["{HERE}"]\nenv = {{ GIVEN = "${{VALUE}}" }}'
    server = source(table, VALUE="secret")
    offers = {offer.tool: offer for offer in await server.offers(sandbox)}
    assert offers["add"].definition.name == "x__add"
    assert {name: offer.effects for name, offer in offers.items()} == {
        **dict.fromkeys(("append", "meta", "picture"), "at_most_once"),
        "add": "none",
        "boom": "idempotent",
    }
    tools = {name: server.tool(offer) for name, offer in offers.items()}

    added = await call(tools["add"], sandbox, a=1, b=2)
    assert (added.text, added.data, added.is_error) == ("3", {"result": 3}, False)
    wrong = await call(tools["add"], sandbox, a="one", b=2)
    assert wrong.is_error and "was not called" in wrong.text
    wrote = await call(tools["append"], sandbox, text="hello")
    assert wrote.text == "in /workspace with GIVEN HOME LANG PATH PWD PYTHONDONTWRITEBYTECODE PYTHONNOUSERSITE TMPDIR"
    assert (project / "lines.txt").read_text() == "hello\n"
    failed = await call(tools["boom"], sandbox)
    assert failed.is_error and "no such thing; try another" in failed.text

    blobs, shown, trace = MemoryStore(), list[str](), traceparent("run", "call")
    context = ToolContext(sandbox, blobs=blobs, trace=trace, on_progress=shown.append)
    assert (await call_tool(tools["meta"], {}, context)).data == {"traceparent": trace}
    assert shown == ["1 of 2 half way"]
    picture = await call_tool(tools["picture"], {}, context)
    assert len(picture.text) <= context.shown and (await blobs.get_blob(picture.full)).startswith(b"xxx")
    told = (await blobs.get_blob(picture.full)).decode().splitlines()[-1]
    assert told.startswith("[image of type image/png, 8 bytes, kept as blob ")
    assert (await blobs.get_blob(told.split()[-1].rstrip("]"))).startswith(b"\x89PNG")


@pytest.fixture
def web() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, FRIENDLY, "http", str(port), "right-token"])
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_server_on_the_web_wants_its_token(source: Make, sandbox: Sandbox, web: str) -> None:
    server = source(f'url = "{web}"\ntoken_env = "X_TOKEN"', X_TOKEN="right-token")
    assert (await call(await tool_of(server, sandbox, "add"), sandbox, a=2, b=3)).text == "5"
    by_header = source(f'url = "{web}"\nheaders = {{ Authorization = "Bearer ${{T}}" }}', T="right-token")
    assert (await call(await tool_of(by_header, sandbox, "add"), sandbox, a=2, b=3)).text == "5"
    with pytest.raises(McpUnavailable, match=r"401 Unauthorized.*Bearer realm=test.*set token_env.*such as X_TOKEN"):
        await source(f'url = "{web}"').offers(sandbox)
    with pytest.raises(McpUnavailable, match="does not take the token that X_TOKEN holds") as refused:
        await source(f'url = "{web}"\ntoken_env = "X_TOKEN"', X_TOKEN="wrong-token").offers(sandbox)
    assert "wrong-token" not in str(refused.value)
    with pytest.raises(ConfigError, match="X_TOKEN is not set"):
        await source(f'url = "{web}"\ntoken_env = "X_TOKEN"').offers(sandbox)


async def test_nobody_there_is_told_at_once(source: Make, sandbox: Sandbox) -> None:
    with pytest.raises(McpUnavailable, match="ConnectError"):
        await source('url = "http://127.0.0.1:9/mcp"').offers(sandbox)
    with pytest.raises(McpUnavailable, match="there is no program 'no-such-server'"):
        await source('command = "no-such-server"').offers(sandbox)
    with pytest.raises(McpUnavailable, match="it ended with code 3; it said: oh no") as ended:
        table = 'command = "sh"\nargs = ["-c", "echo oh no $KEY >&2; exit 3"]\nenv = {KEY = "${KEY}"}'
        await source(table, KEY="topsecret").offers(sandbox)
    assert "topsecret" not in str(ended.value)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("silent", "it did not answer within 1 s"),
        ("garbage", "what it sends is not the protocol; it began with 'Listening on everything!'"),
        ("slow-list", "it did not list its tools within 1 s"),
        ("endless", "has no end of pages"),
    ],
)
async def test_a_server_that_is_none_is_told_in_time(source: Make, sandbox: Sandbox, mode: str, told: str) -> None:
    seconds = 1 if mode in ("silent", "slow-list") else 8
    table = hostile(mode).replace("start_seconds = 8", f"start_seconds = {seconds}")
    with pytest.raises(McpUnavailable, match=told):
        await asyncio.wait_for(source(table).offers(sandbox), 20)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("dies", "it ended with code 7; it said: out of cheese. Nobody knows whether it took effect"),
        ("hangs", "it took longer than 1 s"),
        ("wrong-id", "it took longer than 1 s"),
        ("floods", "it sent 10000 messages that nobody asked for"),
        ("long-line", "it sent a line of more than 16 MiB"),
        ("wrong-shape", "its answer is wrong"),
    ],
)
async def test_a_call_that_goes_wrong_is_told_to_the_model(
    source: Make, sandbox: Sandbox, mode: str, told: str
) -> None:
    seconds = 1 if mode in ("hangs", "wrong-id") else 20
    server = source(hostile(mode, f"timeout_seconds = {seconds}"))
    tool = await tool_of(server, sandbox, "act")
    result = await asyncio.wait_for(call(tool, sandbox), 30)
    assert result.is_error and told in result.text
    assert [offer.tool for offer in await server.offers(sandbox)] == ["act"]  # started again, where it was lost


async def test_a_server_is_started_again_after_it_died_and_only_then(source: Make, sandbox: Sandbox) -> None:
    server = source(hostile("chatty"))
    tool = await tool_of(server, sandbox, "act")
    first, second = (await call(tool, sandbox)).text, (await call(tool, sandbox)).text
    assert first == second and first.endswith("red") and "\x1b" not in first
    await server.close()
    third = await call(tool, sandbox)
    assert not third.is_error


async def test_pages_are_followed_and_names_made_fit(source: Make, sandbox: Sandbox) -> None:
    assert [offer.tool for offer in await source(hostile("pages")).offers(sandbox)] == ["act0", "act1", "act2"]
    odd = source(hostile("odd-names"))
    names = [offer.definition.name for offer in await odd.offers(sandbox)]
    assert names[3] == "x__fine" and len(set(names)) == 4
    assert all(len(name) <= 64 and name.replace("_", "").replace("-", "").isalnum() for name in names)
    assert not (await call(await tool_of(odd, sandbox, "a/b"), sandbox)).is_error


async def test_only_the_tools_that_are_listed_are_there(source: Make, sandbox: Sandbox) -> None:
    server = source(hostile("pages", 'tools = ["act1"]\napprove = { act1 = "ask" }'))
    assert [(offer.tool, offer.approve) for offer in await server.offers(sandbox)] == [("act1", "ask")]


async def test_a_definition_that_changed_is_noticed_until_it_is_accepted(
    source: Make, sandbox: Sandbox, project: Path
) -> None:
    server = source(hostile("changes"))
    server.keep(await server.offers(sandbox))
    (project / "changed").touch()
    (changed,) = await server.offers(sandbox)
    assert changed.approve == "ask" and "treadle tools accept x" in changed.note
    server.keep([changed])
    assert (await server.offers(sandbox))[0].approve == "ask"
    server.keep([changed], anew=True)
    assert (await server.offers(sandbox))[0].approve == "allow"


async def test_cancelling_a_call_leaves_the_connection_usable(source: Make, sandbox: Sandbox, project: Path) -> None:
    server = source(hostile("hangs", "timeout_seconds = 60"))
    tool = await tool_of(server, sandbox, "act")
    hanging = asyncio.create_task(call(tool, sandbox))
    await asyncio.sleep(0.2)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await asyncio.wait_for(server.offers(sandbox), 10)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('command = "x"\nsandbox = "none"', "a way around the sandbox"),
        ('command = "x"\nreads = ["/root"]', "files outside the workspace"),
        ('url = "https://example.org/mcp"', "the network"),
        ('command = "x"\nallow_hosts = ["example.org"]', "the network"),
        ('command = "x"\nargs = ["${SECRET}"]', "variables of your environment"),
    ],
)
async def test_a_cloned_project_gets_nothing_of_the_users(
    source: Make, sandbox: Sandbox, table: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        await source(table, of_user=False, SECRET="topsecret").offers(sandbox)
    assert "TREADLE_MCP_TRUSTED" in refused.value.hint and "topsecret" not in str(refused.value)


async def test_a_project_that_is_trusted_may_have_more(source: Make, sandbox: Sandbox, project: Path) -> None:
    server = source(hostile("plain"), of_user=False, TREADLE_MCP_TRUSTED=str(project))
    assert await server.offers(sandbox)


async def test_without_a_sandbox_only_where_that_is_said(source: Make, sandbox: Sandbox, project: Path) -> None:
    server = source(hostile("chatty", 'sandbox = "none"').replace(f'reads = ["{HERE}"]\n', ""))
    tool = await tool_of(server, sandbox, "act")
    pid = int((await call(tool, sandbox)).text.split()[1])
    assert os.readlink(f"/proc/{pid}/cwd") == str(project)
    await server.close()
    assert not Path(f"/proc/{pid}").exists()


async def test_a_server_reaches_the_hosts_that_it_may_and_no_other(source: Make, sandbox: Sandbox) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as web:
        port = web.sockets[0].getsockname()[1]
        table = hostile(f'asks", "http://127.0.0.1:{port}/')
        tool = await tool_of(source(table), sandbox, "act")
        assert (await call(tool, sandbox)).text.startswith("refused")
        tool = await tool_of(source(f'{table}allow_hosts = ["127.0.0.1:{port}"]'), sandbox, "act")
        assert (await call(tool, sandbox)).text == "hello"


async def test_where_git_cannot_be_protected_a_server_does_without_the_workspace(
    source: Make, sandbox: Sandbox, project: Path
) -> None:
    try:
        landlock = await choose.open_sandbox(project, backend="landlock")
    except SandboxUnavailable as error:
        pytest.skip(f"landlock does not work here: {error}")
    with pytest.raises(SandboxUnavailable, match=r"'x' was not started.*\.git"):
        await source(hostile("plain")).offers(landlock)
    assert await source(hostile("plain", "workspace = false")).offers(landlock)
    await landlock.close()
