"""The wrappers together, over a real adapter and servers on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from asked import REQUEST, SlowModel
from chat_server import chunk, refuse, stream

from treadle.domain.inventory import ModelEntry, Price, Service
from treadle.domain.messages import ModelReply
from treadle.errors import CircuitOpen, ConfigError, ModelUnavailable, RateLimited, Refused
from treadle.models.adapters.openai_chat import OpenAIChat
from treadle.models.wrappers import Guard, OpenedLater, tier_model, wrapped
from treadle.ports.model import Model

pytest.importorskip("openai")
Answer = Callable[[BaseHTTPRequestHandler], None]
HELLO = stream(
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}, "stop"),
    chunk(usage={"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}),
)


def busy(retry_after: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(429)
        handler.send_header("Retry-After", retry_after)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def in_turn(*answers: Answer) -> Answer:
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def adapter(url: str) -> Model:
    return OpenAIChat(f"{url}/v1", api_key="k", trust_env=False)


def tier(*urls: str) -> list[tuple[ModelEntry, Service]]:
    return [
        (ModelEntry(f"m{n}", f"s{n}", f"served-{n}", price=Price(1.0, 2.0)), Service(f"s{n}", "openai", url))
        for n, url in enumerate(urls)
    ]


def open_adapter(entry: ModelEntry, service: Service) -> Model:
    return adapter(service.url)


def ask(model: Model, times: int = 1) -> ModelReply:
    async def run() -> ModelReply:
        try:
            for _ in range(times):
                reply = await model.reply(REQUEST)
            return reply
        finally:
            await model.close()

    return asyncio.run(run())


def test_a_busy_server_is_asked_again_when_it_said(web) -> None:
    web.answer = in_turn(busy("1"), HELLO)
    began = time.monotonic()
    assert ask(wrapped(adapter(web.url), Guard.of(Service("s", "openai")))).text == "Hello"
    assert time.monotonic() - began >= 1.0
    assert len(web.asked) == 2


def test_a_server_that_wants_too_long_a_wait_is_not_waited_for(web) -> None:
    web.answer = busy("3600")
    with pytest.raises(RateLimited) as caught:
        ask(wrapped(adapter(web.url), Guard.of(Service("s", "openai"))))
    assert caught.value.retry_after_seconds == 3600
    assert len(web.asked) == 1


def test_a_wrong_key_is_asked_about_once(web) -> None:
    web.answer = refuse(401, "bad key")
    with pytest.raises(Refused):
        ask(wrapped(adapter(web.url), Guard.of(Service("s", "openai"))))
    assert len(web.asked) == 1


def test_a_server_that_is_gone_is_left_alone(free_port: int) -> None:
    model = wrapped(adapter(f"http://127.0.0.1:{free_port}"), Guard.of(Service("s", "openai")))

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
    models = tier(f"http://127.0.0.1:{free_port}", web.url)
    reply = ask(tier_model("small", models, open_adapter, answers=tmp_path), times=2)
    assert (reply.text, reply.model, reply.cost) == ("Hello", "m1", 0.0)  # the second time from the folder
    assert len(reply.passed_over) == 1
    assert reply.passed_over[0].startswith("m0: ")
    assert b'"model":"served-1"' in web.bodies[0].replace(b" ", b"")
    assert len(web.bodies) == 1


def test_a_tier_says_what_an_answer_cost(web) -> None:
    web.answer = HELLO
    reply = ask(tier_model("small", tier(web.url), open_adapter))
    assert reply.cost == pytest.approx(9e-6 + 4e-6)


def test_what_cannot_be_opened_leaves_the_answer_to_the_next() -> None:
    def not_installed() -> Model:
        raise ConfigError("no package", hint="pip install it")

    entries = tier("http://127.0.0.1:9", "http://127.0.0.1:9")
    models = {"m0": OpenedLater("anthropic", not_installed), "m1": SlowModel(["here"])}
    reply = ask(tier_model("small", entries, lambda entry, service: models[entry.name]))
    assert (reply.text, reply.passed_over) == ("here", ("m0: no package",))
    assert models["m1"].closed == 1
