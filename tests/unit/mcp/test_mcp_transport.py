"""Who may reach a server over HTTP, which protocols it speaks, mounting it, and what is refused before it is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from treadle.errors import TreadleError
from treadle.mcp.filesystem import filesystem_server
from treadle.mcp.serve import open_server
from treadle.mcp.transport import alive, http_app, serving_http
from treadle.services.folders import Folders
from treadle.services.http_server import http_server
from treadle.settings import SandboxSettings, Settings, StoreSettings

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@asynccontextmanager
async def served(folder: Path, **options: Any) -> AsyncIterator[str]:
    async with serving_http(filesystem_server(Folders([folder])), host="127.0.0.1", port=0, **options) as url:
        yield url


async def post(url: str, **headers: str) -> int:
    async with httpx2.AsyncClient(trust_env=False) as http:
        return (await http.post(url, json=LIST, headers=ACCEPT | headers)).status_code


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_both_protocols_are_spoken(tmp_path: Path, mode: str, version: str) -> None:
    (tmp_path / "a.txt").write_text("a")
    async with served(tmp_path, path="/files") as url, Client(url, mode=mode) as client:
        assert url.endswith("/files") and client.protocol_version == version
        read = await client.call_tool("read_text_file", {"path": "a.txt"})
        assert read.structured_content == {"content": "a"}
        assert (await client.call_tool("no_such_tool", {})).is_error
        with pytest.raises(MCPError, match="Unknown prompt: none"):
            await client.get_prompt("none")


async def test_only_who_knows_the_token_is_let_in(tmp_path: Path) -> None:
    async with served(tmp_path, token="s3cret") as url:
        headers = {"Authorization": "Bearer s3cret"}
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert len((await client.list_tools()).tools) == 14
        assert await post(url) == await post(url, Authorization="Bearer other") == 401
        assert await post(url, Authorization="Basic s3cret") == await post(url, Authorization="Bearer s3cret2") == 401


async def test_a_page_in_a_browser_reaches_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, hosts=["box.example"]) as url:
        assert await post(url, Host="evil.example") == 421
        assert await post(url, Host="localhost.evil.example:80") == 421
        assert await post(url, Origin="http://evil.example") == 403
        assert await post(url, Host="box.example", Origin="https://box.example") not in (403, 421)


async def test_servers_are_mounted_beside_other_routes(tmp_path: Path) -> None:
    one, two = (http_app(filesystem_server(Folders([tmp_path])), path=path) for path in ("/", "/mcp"))

    async def hello(request: object) -> PlainTextResponse:
        return PlainTextResponse("hello")

    whole = Starlette(routes=[Route("/hello", hello), Mount("/files", one), Mount("/", two)])
    async with alive(one), alive(two), http_server(whole, host="127.0.0.1", port=0, extra="mcp") as url:
        for path in ("/files/", "/mcp"):
            async with Client(url + path) as client:
                assert len((await client.list_tools()).tools) == 14
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"{url}/hello")).text == "hello"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "no token is set"),
        ({"host": "::"}, "no token is set"),
        ({"host": "127.0.0.1", "path": "mcp"}, "does not begin with a slash"),
    ],
)
async def test_who_cannot_be_kept_out_is_not_served(tmp_path: Path, options: dict[str, str], message: str) -> None:
    server = filesystem_server(Folders([tmp_path]))
    with pytest.raises(TreadleError, match=message):
        async with serving_http(server, **{"port": 0, **options}):
            raise AssertionError("it is served")


@pytest.mark.parametrize(
    ("name", "places", "message"),
    [
        ("nothing", (), "no MCP server 'nothing'"),
        ("filesystem", ("none",), "is no folder"),
        ("code-runner", ("a", "b"), "takes one folder"),
        ("code-runner", (), "never run without one"),
        ("workflow", (), "outlives this process"),
    ],
)
async def test_what_cannot_be_had_is_not_served(
    tmp_path: Path, name: str, places: tuple[str, ...], message: str
) -> None:
    settings = Settings(tmp_path, sandbox=SandboxSettings(backend="none"), store=StoreSettings("memory:"))
    with pytest.raises(TreadleError, match=message):
        async with open_server(name, settings, places, folder=tmp_path):
            raise AssertionError("it is open")
