"""The wrappers together, over a real adapter and servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from asked import REQUEST
from chat_server import chunk, refuse, stream

from treadle.domain.inventory import Inventory, ModelEntry, Price, Service
from treadle.domain.messages import ModelReply
from treadle.errors import CircuitOpen, ConfigError, ModelUnavailable, Refused
from treadle.models.openai_chat import OpenAIChat
from treadle.models.wrappers import tier_model, wrapped
from treadle.ports.model import Model

pytest.importorskip("openai")
HELLO = stream(
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}, "stop"),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}),
)


def adapter(url: str) -> Model:
    return OpenAIChat(f"{url}/v1", api_key="k", trust_env=False)


def inventory(*urls: str) -> Inventory:
    services = {f"s{n}": Service(f"s{n}", "openai", f"{url}/v1") for n, url in enumerate(urls)}
    entries = {f"m{n}": ModelEntry(f"m{n}", f"s{n}", f"served-{n}", price=Price(1.0, 2.0)) for n, _ in enumerate(urls)}
    return Inventory(services=services, models=entries)


def once_each(models: Mapping[str, Model]) -> Callable[[Service], Model]:
    return lambda service: models[service.name]


def ask(model: Model, times: int = 1) -> ModelReply:
    async def run() -> ModelReply:
        try:
            for _ in range(times):
                reply = await model.reply(REQUEST)
            return reply
        finally:
            await model.close()

    return asyncio.run(run())


def test_a_wrong_key_is_asked_about_once(web) -> None:
    web.answer = refuse(401, "bad key")
    with pytest.raises(Refused):
        ask(wrapped(adapter(web.url), Service("s", "openai")))
    assert len(web.asked) == 1


def test_a_server_that_is_gone_is_left_alone(free_port: int) -> None:
    model = wrapped(adapter(f"http://127.0.0.1:{free_port}"), Service("s", "openai"))

    async def run() -> None:
        tries = [model.reply(REQUEST) for _ in range(6)]
        errors = await asyncio.gather(*tries, return_exceptions=True)
        assert all(isinstance(error, ModelUnavailable) for error in errors)
        with pytest.raises(CircuitOpen, match="failed"):
            await model.reply(REQUEST)
        await model.close()

    asyncio.run(run())


def test_a_tier_answers_with_the_first_model_that_is_there(web, free_port: int, tmp_path: Path) -> None:
    web.answer = HELLO
    known = inventory(f"http://127.0.0.1:{free_port}", web.url)
    models = {name: adapter(service.url.removesuffix("/v1")) for name, service in known.services.items()}
    reply = ask(tier_model("small", ["m0", "m1"], known, once_each(models), answers=tmp_path), times=2)
    assert (reply.text, reply.model, reply.cost) == ("Hello", "m1", 0.0)  # the second time from the folder
    assert len(reply.passed_over) == 1
    assert reply.passed_over[0].startswith("m0: ")
    assert b'"model":"served-1"' in web.bodies[0].replace(b" ", b"")
    assert len(web.bodies) == 1


def test_a_tier_says_what_an_answer_cost(web) -> None:
    web.answer = HELLO
    known = inventory(web.url)
    reply = ask(tier_model("small", ["m0"], known, once_each({"s0": adapter(web.url)})))
    assert reply.cost == pytest.approx(9e-6 + 4e-6)


def test_a_pinned_model_that_is_gone_from_the_inventory_is_said() -> None:
    with pytest.raises(ConfigError, match="'m7', which the inventory has no more"):
        tier_model("small", ["m7"], Inventory(), lambda service: adapter("http://127.0.0.1:1"))
