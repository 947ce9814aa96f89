"""The scripted model."""

from __future__ import annotations

import asyncio

import pytest

from treadle.domain.messages import Message, ModelReply, ModelRequest, Usage
from treadle.errors import ModelError, ModelUnavailable
from treadle.models.adapters.scripted import ScriptedModel

REQUEST = ModelRequest(model="toy", messages=(Message("user", "Say hello"),))


def test_replies_come_in_order_and_requests_are_kept():
    model = ScriptedModel(["one", ModelReply(text="two", model="m", usage=Usage(5, 6))])
    first, second = (asyncio.run(model.reply(REQUEST)) for _ in range(2))
    assert (first.text, first.model, second.text, second.usage) == ("one", "toy", "two", Usage(5, 6))
    assert model.requests == [REQUEST, REQUEST]


def test_usage_is_plausible():
    reply = asyncio.run(ScriptedModel(["x" * 400]).reply(REQUEST))
    assert reply.usage == Usage(3, 101)


def test_pieces_join_to_the_text():
    pieces: list[str] = []
    asyncio.run(ScriptedModel(["def f():\n    return 1\n"]).reply(REQUEST, on_delta=pieces.append))
    assert len(pieces) > 1
    assert "".join(pieces) == "def f():\n    return 1\n"


def test_function_sees_the_request():
    model = ScriptedModel(lambda request: request.messages[-1].content.upper())
    assert asyncio.run(model.reply(REQUEST)).text == "SAY HELLO"


def test_exception_in_the_script_is_raised_in_its_turn():
    model = ScriptedModel([ModelUnavailable("gone"), "back"])
    with pytest.raises(ModelUnavailable):
        asyncio.run(model.reply(REQUEST))
    assert asyncio.run(model.reply(REQUEST)).text == "back"


def test_end_of_the_script_is_an_error():
    with pytest.raises(ModelError, match="ends after 0 replies"):
        asyncio.run(ScriptedModel([]).reply(REQUEST))
