"""The pool's endpoint over real sockets, asked by the openai package and by our own adapter."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import openai
import pytest
from tests.unit.pool.driver import LoopbackServer, ask, entry

from treadle.errors import ConfigError, ModelUnavailable, Refused, UnknownName
from treadle.models.adapters.openai_chat import OpenAIChat
from treadle.pool.agents import AgentPool, PoolConfig
from treadle.pool.pool import Pool
from treadle.services.pool import Address, PoolClient, address_of, serving
from treadle.settings import Settings, load_settings

KEY = "the-key"


@dataclass
class Served:
    server: LoopbackServer
    pool: Pool
    address: Address
    settings: Settings
    opened: list[openai.AsyncOpenAI] = field(default_factory=list)

    def client(self, key: str = KEY) -> openai.AsyncOpenAI:
        http = httpx2.AsyncClient(trust_env=False)
        url = f"{self.address.url}/v1"
        self.opened.append(openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, http_client=http))
        return self.opened[-1]

    def http(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx2.AsyncClient(base_url=self.address.url, headers=headers, trust_env=False, timeout=20)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as one:
        yield one


@asynccontextmanager
async def serve(folder: Path, pace: float = 0.01) -> AsyncIterator[Served]:
    sizes = {"big": 3.5, "mid": 2.0, "small": 1.0, "huge": 9.0}
    server = LoopbackServer(sizes, 4, pace=pace)
    server.text = ("Hello", " wörld", "\n!")
    config = PoolConfig(pools={"simple": AgentPool("simple", ("small", "mid"), slots=8)})
    pool = Pool({server.name: server}, [entry(name) for name in sizes], config)
    settings = load_settings(folder, {}, {"TREADLE_RUNTIME_DIR": str(folder / "run"), "HOME": str(folder)})
    async with serving(pool, settings, host="127.0.0.1", port=0, key=KEY) as address:
        one = Served(server, pool, address, settings)
        yield one
        for client in one.opened:
            await client.close()
    await pool.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what it waits for happens on the other side of a socket
            await asyncio.sleep(0.005)


MESSAGES: list = [{"role": "user", "content": "hello"}]  # type: ignore[type-arg]


async def test_the_openai_package_gets_whole_answers_and_streams(served: Served) -> None:
    client = served.client()
    whole = await client.chat.completions.create(model="mid", messages=MESSAGES)
    assert whole.choices[0].message.content == "Hello wörld\n!" and whole.model == "mid"
    assert whole.usage is not None and whole.usage.total_tokens == 6
    stream = await client.chat.completions.create(
        model="simple", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello wörld\n!"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert {model.id async for model in client.models.list()} == {"big", "mid", "small", "huge", "simple"}


async def test_our_own_adapter_gets_the_errors_that_the_pool_has(served: Served) -> None:
    adapter = OpenAIChat(f"{served.address.url}/v1", api_key=KEY, trust_env=False)
    assert (await adapter.reply(ask("small"))).text == "Hello wörld\n!"
    with pytest.raises(UnknownName):
        await adapter.reply(ask("smal"))
    served.server.broken["big@served"] = ModelUnavailable("The file is unreadable.")
    with pytest.raises(ModelUnavailable, match="unreadable"):
        await adapter.reply(ask("big"))
    with pytest.raises(ModelUnavailable) as told:
        await adapter.reply(ask("big"))
    assert told.value.retry_after_seconds
    await adapter.close()
    wrong = OpenAIChat(f"{served.address.url}/v1", api_key="wrong", trust_env=False)
    with pytest.raises(Refused):
        await wrong.reply(ask("small"))
    await wrong.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_cancels_its_request(served: Served, stream: bool) -> None:
    served.server.answer_s = 1000.0
    async with served.http() as http:
        body = {"model": "mid", "messages": MESSAGES, "stream": stream}
        first = asyncio.ensure_future(http.post("/v1/chat/completions", json=body))
        await until(lambda: served.server.running["mid@served"] == 1)
        second = asyncio.ensure_future(http.post("/v1/chat/completions", json={**body, "model": "big"}))
        await until(lambda: any(queue.model == "big" for queue in served.pool.now().queues))
        second.cancel()
        await until(lambda: not served.pool.now().queues)
        first.cancel()
        await until(lambda: served.server.running["mid@served"] == 0)


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_it(served: Served) -> None:
    cancelled = asyncio.Event()

    async def endless(request: object, *, on_delta: Callable[[str], None]) -> None:
        try:
            while True:
                on_delta("x")
                await asyncio.sleep(0.01)
        finally:
            cancelled.set()

    served.server.reply = endless  # type: ignore[assignment, method-assign]
    stream = await served.client().chat.completions.create(model="mid", messages=MESSAGES, stream=True)
    async for _ in stream:
        break
    await stream.close()
    await asyncio.wait_for(cancelled.wait(), 20)
    await until(lambda: all(one.running == 0 for device in served.pool.now().devices for one in device.models))


async def test_an_error_in_the_middle_of_a_stream_is_told_in_it(served: Served) -> None:
    server = served.server

    async def breaks(request: object, *, on_delta: Callable[[str], None]) -> None:
        on_delta("Hel")
        raise ModelUnavailable("It broke off.")

    server.reply = breaks  # type: ignore[assignment, method-assign]
    adapter = OpenAIChat(f"{served.address.url}/v1", api_key=KEY, trust_env=False)
    with pytest.raises(ModelUnavailable, match="broke off"):
        await adapter.reply(ask("small"))
    await adapter.close()


async def test_workers_share_one_view_of_the_memory(served: Served) -> None:
    clients = [served.client() for _ in range(8)]
    names = ["big", "mid", "small"]
    await asyncio.gather(
        *(
            client.chat.completions.create(model=names[n % 3], messages=MESSAGES)
            for n in range(30)
            for client in clients[n % 8 : n % 8 + 1]
        )
    )
    assert len(served.server.answered) == 30 and len(served.server.loads) <= 4
    assert served.server.peak <= 4_000_000_000


BAD = [
    (b"{", "no JSON"),
    (b"[]", "no JSON object"),
    (json.dumps({"messages": MESSAGES}).encode(), "model is missing"),
    (json.dumps({"model": "mid"}).encode(), "messages is empty"),
    (json.dumps({"model": 3, "messages": MESSAGES}).encode(), "model has the wrong type"),
    (json.dumps({"model": "mid", "messages": ["x"]}).encode(), "messages[0] is no object"),
    (json.dumps({"model": "mid", "messages": [{"role": "king"}]}).encode(), "role is 'king'"),
    (json.dumps({"model": "mid", "messages": MESSAGES, "n": 2}).encode(), "n is not 1"),
    (json.dumps({"model": "mid", "messages": MESSAGES, "max_tokens": -1}).encode(), "max_tokens is -1"),
    (json.dumps({"model": "mid", "messages": MESSAGES, "temperature": "hot"}).encode(), "temperature"),
    (json.dumps({"model": "mid", "messages": MESSAGES, "stop": [3]}).encode(), "stop is"),
    (b'{"model": "mid", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": '
     b'"http://127.0.0.1/x.png"}}]}]}', "nothing is fetched"),
    (json.dumps({"model": "huge", "messages": MESSAGES}).encode(), "can never be loaded"),
]  # fmt: skip


async def test_bad_requests_are_answered_with_what_is_wrong(served: Served) -> None:
    async with served.http() as http:
        for body, message in BAD:
            answer = await http.post("/v1/chat/completions", content=body)
            assert answer.status_code == 400 and message in answer.json()["error"]["message"], (body, answer.text)
        assert (await http.post("/v1/chat/completions", json={"model": "m", "messages": MESSAGES})).status_code == 404
        assert (await http.get("/v1/models", headers={"Authorization": "Bearer x"})).status_code == 401
        assert (await http.get("/v1/pool", headers={"Authorization": ""})).status_code == 401
        assert (await http.get("/health", headers={"Authorization": ""})).json() == {"status": "ok"}
        assert (await http.post("/v1/pool/expect", json={"model": "mid", "within_s": -1})).status_code == 400
    assert served.server.answered == []


async def test_what_a_worker_expects_is_loaded_ahead(served: Served) -> None:
    async with served.http() as http:
        await served.pool.open()
        assert (await http.post("/v1/pool/expect", json={"model": "mid", "within_s": 2})).status_code == 200
        await until(lambda: "mid@served" in served.server.loaded)


async def test_a_pool_is_looked_at_from_outside(served: Served) -> None:
    await served.pool.reply(ask("simple"))
    address = address_of(served.settings, None)
    assert address == served.address
    async with PoolClient(address) as client:
        now = await client.now()
        assert now.answered == 1 and now.devices[0].used == 1_000_000_000
        kinds = [line.kind for line in await client.log("simple")]
        assert kinds[-4:] == ["load", "loaded", "start", "finish"]
    async with PoolClient(Address(served.address.url, "wrong")) as client:
        with pytest.raises(Refused) as told:
            await client.now()
        assert "TREADLE_POOL_KEY" in told.value.hint


async def test_a_pool_that_ended_left_nothing_behind(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        port = int(served.address.url.rsplit(":", 1)[1])
        assert (tmp_path / "run" / "pool.json").stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConfigError, match="cannot be listened at"):
            async with serving(served.pool, served.settings, host="127.0.0.1", port=port, key=KEY):
                pass
    with pytest.raises(ModelUnavailable, match="No pool is served"):
        address_of(served.settings, None)
    async with PoolClient(served.address) as client:
        with pytest.raises(ModelUnavailable, match="No pool answers"):
            await client.now()
