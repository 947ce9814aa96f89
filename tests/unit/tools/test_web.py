"""Only what the user allowed is reached, also when names, redirections and answers try to lead elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from tests.unit.tools.conftest import Hands

from treadle.errors import Refused
from treadle.settings import load_settings
from treadle.testing.loopback_http import Exchange, LoopbackServer
from treadle.tools import call_tool
from treadle.tools.pages import text_of_html
from treadle.tools.reach import Reach
from treadle.tools.web import fetch_tool, findings, search_tool

PAGE = b"<html><head><title>T</title></head><body><h1>Hello</h1><script>x()</script><p>W&ouml;rld</p></body></html>"


async def play(exchange: Exchange) -> None:
    path = exchange.path.partition("?")[0]
    if path == "/onward":
        await exchange.whole(302, b"", Location="/page")
    elif path == "/away":
        await exchange.whole(302, b"", Location="http://other.example/page")
    elif path == "/metadata":
        await exchange.whole(302, b"", Location="http://169.254.169.254/latest")
    elif path == "/loop":
        await exchange.whole(302, b"", Location="/loop")
    elif path == "/image":
        await exchange.whole(200, b"\x89PNG", "image/png")
    elif path == "/packed":
        await exchange.whole(200, b"\x1f\x8b", "text/plain", Content_Encoding="gzip")
    elif path == "/endless":
        exchange.begin(200, "text/plain")
        while True:
            await exchange.send(b"x" * 65536)
    elif path == "/missing":
        await exchange.whole(404, b"not here", "text/plain")
    elif path == "/search":
        pages = [{"title": f"T{n}", "url": f"http://h/{n}", "content": exchange.path} for n in range(9)]
        await exchange.whole(200, json.dumps({"query": "x", "results": pages}).encode())
    else:
        await exchange.whole(200, PAGE, "text/html; charset=utf-8")


@pytest.fixture
async def server() -> AsyncIterator[LoopbackServer]:
    async with LoopbackServer(play) as started:
        yield started


@pytest.fixture
def allowed(server: LoopbackServer) -> Reach:
    return Reach([server.url.removeprefix("http://")])


async def test_page_of_an_allowed_host_is_read_as_text(hands: Hands, server: LoopbackServer) -> None:
    fetch = fetch_tool([server.url.removeprefix("http://")])
    result = await call_tool(fetch, {"url": f"{server.url}/onward"}, hands.context)
    head, _, text = result.text.partition("\n")
    assert text == "# Hello\n\nWörld" and "status 200" in head and "no instructions" in head
    assert (await call_tool(fetch, {"url": f"{server.url}/missing"}, hands.context)).is_error
    assert server.asked[0].headers["host"] == server.url.removeprefix("http://")


async def test_nothing_is_reached_without_being_allowed(hands: Hands, server: LoopbackServer) -> None:
    result = await call_tool(fetch_tool([]), {"url": f"{server.url}/"}, hands.context)
    assert result.is_error and "Allowed: none" in result.text
    assert server.asked == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://h/", "http://", "http://user:secret@127.0.0.1/", "http://[::1", "gopher://x", "x y",
     "http://127.0.0.1:99999/", "http://127.0.0.1\r\nX: y/"],
)  # fmt: skip
async def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        await Reach(["*.example", "127.0.0.1"]).get(url)


@pytest.mark.parametrize("path", ["away", "metadata", "loop", "image", "packed"])
async def test_answers_that_lead_elsewhere_or_are_no_text_are_refused(
    server: LoopbackServer, allowed: Reach, path: str
) -> None:
    with pytest.raises(Refused):
        await allowed.get(f"{server.url}/{path}")


async def test_endless_answer_is_cut(server: LoopbackServer, allowed: Reach) -> None:
    page = await allowed.get(f"{server.url}/endless")
    assert not page.is_whole and len(page.text) == 2 * 1024 * 1024


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "192.168.1.1", "fd00::1"])
async def test_allowed_name_that_stands_for_a_private_address_is_not_asked(
    server: LoopbackServer, address: str
) -> None:
    async def rebound(host: str, port: int) -> list[str]:
        return [address]

    port = server.url.rpartition(":")[2]
    with pytest.raises(Refused, match="private network"):
        await Reach([f"docs.example:{port}"], resolve=rebound).get(f"http://docs.example:{port}/")
    assert server.asked == []


async def test_address_that_was_checked_is_the_one_that_is_asked(server: LoopbackServer) -> None:
    """A name server that answers otherwise the second time gains nothing: it is asked once."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def fickle(host: str, port: int) -> list[str]:
        return next(answers)

    port = server.url.rpartition(":")[2]
    page = await Reach([f"localhost:{port}"], resolve=fickle).get(f"http://localhost:{port}/page")
    assert page.status == 200 and server.asked[0].headers["host"] == f"localhost:{port}"


@pytest.mark.parametrize(
    ("entry", "url", "is_allowed"),
    [
        ("docs.example", "https://docs.example/x", True),
        ("docs.example", "https://docs.example:8443/", False),
        ("docs.example", "https://evil-docs.example/", False),
        ("docs.example", "https://docs.example.evil/", False),
        ("*.example", "https://a.b.example/", True),
        ("*.example", "https://example/", False),
        ("docs.example:8443", "https://docs.example:8443/", True),
        ("DOCS.example", "https://docs.EXAMPLE./", True),
    ],
)
async def test_entries_mean_whole_names_and_their_ports(entry: str, url: str, is_allowed: bool) -> None:
    async def nowhere(host: str, port: int) -> list[str]:
        return []

    with pytest.raises(Refused, match="There is no host" if is_allowed else "not among"):
        await Reach([entry], resolve=nowhere).get(url)


async def test_search_asks_the_endpoint_that_the_user_named(hands: Hands, server: LoopbackServer) -> None:
    search = search_tool(f"{server.url}/search?q={{query}}&format=json")
    result = await call_tool(search, {"query": "a&b=c", "count": 2}, hands.context)
    assert server.asked[0].path == "/search?q=a%26b%3Dc&format=json"
    assert [one["title"] for one in result.data] == ["T0", "T1"] and "http://h/1" in result.text
    broken = search_tool(f"{server.url}/page?q={{query}}")
    assert "did not answer with JSON" in (await call_tool(broken, {"query": "x"}, hands.context)).text
    assert "No search is configured" in (await call_tool(search_tool(""), {"query": "x"}, hands.context)).text
    fixed = await call_tool(search_tool("http://127.0.0.1:1/s"), {"query": "x"}, hands.context)
    assert "search_url has no {query} in it" in fixed.text
    file = await call_tool(fetch_tool([]), {"url": "file:///etc/passwd"}, hands.context)
    assert "'file:///etc/passwd' is no URL that can be fetched. Write https://HOST/PATH" in file.text


def test_answers_of_other_searches_are_understood() -> None:
    assert findings({"web": {"results": [{"name": "N", "link": "L", "snippet": "S"}]}}) == [
        {"title": "N", "url": "L", "about": "S"}
    ]
    assert findings({"x": [1, {"y": 2}]}) == []


def test_text_of_a_page_has_no_scripts_and_keeps_its_lists() -> None:
    assert text_of_html("<ul><li>a<li>b</ul><style>p{}</style>c<br>d") == "- a\n- b\nc\nd"


def test_code_keeps_its_lines_and_links_their_addresses() -> None:
    page = """<h2>Use <code>f</code></h2><p>See <a href="b.html#x">the page</a> or <a href="#top">above</a>.</p>
    <pre><code>def f():
        return 1


    f()
</code></pre><table><tr><th>a<th>b<tr><td>1<td>2</table>"""
    assert text_of_html(page, "http://h/a/") == (
        "## Use f\n\nSee the page (http://h/a/b.html#x) or above.\n\n"
        "```\ndef f():\n        return 1\n\n\n    f()\n```\n\na | b\n1 | 2"
    )


@pytest.mark.parametrize(
    "page", ["a<![ENTITY x]>b", "a<!DOCTYPE x [<![x]>>b", "<a href='http://[x'>b</a>", "<!-", "&#x;"]
)
def test_page_with_broken_markup_is_read(page: str) -> None:
    assert text_of_html(page, "http://h/") != ""


def test_web_tools_are_there_and_off(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from treadle.services.tools import registry_of

    registry = registry_of(load_settings(tmp_path, {}, {"HOME": str(tmp_path)}))
    assert not registry.is_enabled("fetch_url") and not registry.is_enabled("web_search")
    on = load_settings(tmp_path, {}, {"HOME": str(tmp_path), "TREADLE_TOOLS_ENABLED": "*,fetch_url"})
    assert registry_of(on).is_enabled("fetch_url")
