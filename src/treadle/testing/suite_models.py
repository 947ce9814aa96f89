"""The contract of the model port as tests. Needs pytest and pytest-asyncio.

`ModelSuite` is for anything that answers, a real model too. `AdapterSuite` is for adapters: it plays the provider.

class TestMyAdapter(AdapterSuite):
    wire = MyWire()

    def make(self, url, key=KEY, **options):
        return MyModel(url, api_key=key, key_env=KEY_ENV, **options)
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from treadle.domain.messages import Image, Message, ModelReply, ModelRequest, ToolCall, ToolDefinition, Usage
from treadle.errors import (
    BrokenAnswer,
    ModelError,
    ModelUnavailable,
    RateLimited,
    Refused,
    TreadleError,
    UnknownName,
)
from treadle.ports.model import Model
from treadle.testing.loopback_http import Exchange, LoopbackServer, Play
from treadle.testing.wires import MODEL, Said, Wire

KEY, KEY_ENV = "sk-loopback-5d1c", "LOOPBACK_API_KEY"
REQUEST = ModelRequest(model=MODEL, messages=(Message("user", "Hello"),), max_tokens=64)
PICTURE = Image("image/png", b"\x89PNG\r\n\x1a\n\x00\xff")
ADD = ToolDefinition(
    "add",
    "Adds.",
    {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "more": {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]},
        },
        "required": ["a"],
    },
)
CALL = ToolCall("c1", "add", {"a": 1, "more": {"b": 2}, "note": 'žluť "x"\n'})


class ModelSuite:
    """What holds for every model. Override the fixture `model` and, if need be, `request_of`."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def model(self) -> Model:
        raise NotImplementedError("Override the fixture `model` of ModelSuite.")

    def request_of(self, text: str, **options: Any) -> ModelRequest:
        """Make a request that the model can answer."""
        return ModelRequest(model=MODEL, messages=(Message("user", text),), **options)

    async def test_pieces_make_up_the_text(self, model: Model) -> None:
        pieces: list[str] = []
        reply = await model.reply(self.request_of("Count to five.", max_tokens=24), on_delta=pieces.append)
        assert "".join(pieces) == reply.text != ""
        assert len(pieces) > 1

    async def test_tokens_are_counted(self, model: Model) -> None:
        reply = await model.reply(self.request_of("Say hello.", max_tokens=8))
        assert reply.usage.input_tokens > 0
        assert 0 < reply.usage.output_tokens <= 8
        assert reply.seconds > 0

    async def test_answer_ends_at_max_tokens_and_says_so(self, model: Model) -> None:
        reply = await model.reply(self.request_of("Write a long story about the sea.", max_tokens=5))
        assert reply.finish_reason == "length"

    async def test_answer_follows_its_schema(self, model: Model) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
                  "additionalProperties": False}  # fmt: skip
        reply = await model.reply(self.request_of("How many legs has a cat?", max_tokens=64, json_schema=schema))
        assert isinstance(json.loads(reply.text)["n"], int)

    async def test_cancelled_request_leaves_the_model_usable(self, model: Model) -> None:
        begun = asyncio.Event()
        request = self.request_of("Write a long story about the sea.", max_tokens=400)
        task = asyncio.create_task(model.reply(request, on_delta=lambda text: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await model.reply(self.request_of("Say hello.", max_tokens=4))).text

    async def test_closing_twice_is_closing_once(self, model: Model) -> None:
        await model.close()
        await model.close()


class AdapterSuite(ModelSuite):
    """What holds for every adapter, over the provider's own protocol. Set `wire` and override `make`."""

    wire: Wire

    def make(self, url: str, key: str = KEY, **options: float) -> Model:
        """Make the adapter for a server. Options: first_token_seconds, stall_seconds. Blame a wrong key on KEY_ENV."""
        raise NotImplementedError("Override `make` of AdapterSuite.")

    @pytest.fixture
    async def model(self) -> AsyncIterator[Model]:
        async with LoopbackServer(self._teller) as server:
            model = self.make(server.url)
            yield model
            await model.close()

    @asynccontextmanager
    async def played(self, play: Play, **options: float) -> AsyncIterator[tuple[Model, LoopbackServer]]:
        async with LoopbackServer(play) as server:
            model = self.make(server.url, KEY, **options)
            try:
                yield model, server
            finally:
                await model.close()

    async def ask(self, play: Play, request: ModelRequest = REQUEST) -> tuple[ModelReply, list[str], LoopbackServer]:
        pieces: list[str] = []
        async with self.played(play) as (model, server):
            return await model.reply(request, on_delta=pieces.append), pieces, server

    async def refusal(self, play: Play, request: ModelRequest = REQUEST, **options: float) -> TreadleError:
        async with self.played(play, **options) as (model, server):
            with pytest.raises(TreadleError) as told:
                await model.reply(request)
            assert len([e for e in server.asked if e.method == "POST"]) == 1, "it was asked again, which costs again"
            return told.value

    def says(self, said: Said, *, by: int = 0) -> Play:
        """Answer with this, in chunks of `by` bytes if given."""

        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.wire.stream(said):
                await exchange.send(event, by=by)
            await exchange.end()

        return play

    def refuses(self, status: int, message: str = "it said so", **headers: str) -> Play:
        async def play(exchange: Exchange) -> None:
            await exchange.whole(status, self.wire.error(status, message), **headers)

        return play

    def begins(self, *, pieces: int = 1) -> list[bytes]:
        """The events of an answer up to its first pieces of text."""
        events: list[bytes] = []
        for event in self.wire.stream(Said(text=("Hel",) * pieces)):
            events.append(event)
            if b'"Hel"' in event:
                pieces -= 1
            if not pieces:
                break
        return events

    async def _teller(self, exchange: Exchange) -> None:
        """Answer like a model that tells stories: as many words as it may."""
        heard = self.wire.heard(exchange.path, exchange.headers, exchange.json)
        if heard.schema is not None:
            return await self.says(Said(('{"n"', ": 4}")))(exchange)
        words, is_story = 4, any("story" in text for text in heard.texts)
        words = heard.max_tokens if is_story else min(words, heard.max_tokens)
        said = Said(("la ",) * words, finish="length" if is_story else "stop", usage=Usage(5, words))
        await self.says(said)(exchange)

    async def test_text_thinking_usage_and_end_arrive(self) -> None:
        usage = Usage(9, 4, 3 if self.wire.counts_cached else 0)
        said = Said(("Hel", "lo"), thinking=("hm", "m"), usage=usage)
        reply, pieces, _ = await self.ask(self.says(said))
        assert (reply.text, pieces, reply.thinking) == ("Hello", ["Hel", "lo"], "hmm")
        assert (reply.usage, reply.finish_reason, reply.model) == (usage, "stop", MODEL)

    async def test_characters_that_are_split_between_chunks_are_whole(self) -> None:
        said = Said(("žluťoučký ", "kůň 🐎"), calls=(CALL,), finish="tool_calls")
        reply, _, _ = await self.ask(self.says(said, by=1))
        assert reply.text == "žluťoučký kůň 🐎"
        assert reply.tool_calls[0].arguments == CALL.arguments

    async def test_calls_of_tools_are_joined_from_their_pieces(self) -> None:
        second = ToolCall("c2", "add", {"a": 2})
        said = Said((), calls=(CALL, second), finish="tool_calls")
        reply, _, _ = await self.ask(self.says(said), replace(REQUEST, tools=(ADD,)))
        assert reply.tool_calls == (CALL, second)
        assert reply.finish_reason == "tool_calls"

    async def test_call_without_arguments_is_a_call(self) -> None:
        call = ToolCall("c1", "now", {})
        reply, _, _ = await self.ask(self.says(Said((), calls=(call,), finish="tool_calls")))
        assert reply.tool_calls == (call,)

    @pytest.mark.parametrize("finish", ["length", "refused"])
    async def test_reason_of_the_end_is_told(self, finish: Any) -> None:
        if finish == "refused" and self.wire.name == "ollama":
            pytest.skip("Ollama has no word for it")
        reply, _, _ = await self.ask(self.says(Said(finish=finish)))
        assert (reply.finish_reason, reply.text) == (finish, "Hello")

    async def test_request_is_heard_as_it_was_meant(self) -> None:
        schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"],
                  "additionalProperties": False}  # fmt: skip
        messages = (Message("system", "Be brief."), Message("user", "What is this?", images=(PICTURE,)))
        request = replace(
            REQUEST, messages=messages, max_tokens=17, stop=("END",), json_schema=schema, thinking="low", tools=(ADD,)
        )
        _, _, server = await self.ask(self.says(Said()), request)
        asked = server.asked[0]
        heard = self.wire.heard(asked.path, asked.headers, asked.json)
        assert heard.texts == ("Be brief.", "What is this?")
        assert (heard.model, heard.max_tokens, heard.stop, heard.key) == (MODEL, 17, ("END",), KEY)
        assert heard.schema == schema
        assert heard.tools == {"add": ADD.parameters}, "a schema within the schema got lost"
        assert [image.data for image in heard.images] == [PICTURE.data]
        assert {image.media_type for image in heard.images} <= {PICTURE.media_type, ""}

    @pytest.mark.parametrize("choice", ["auto", "none", "required", "add"])
    async def test_choice_of_tools_is_heard(self, choice: str) -> None:
        other = replace(ADD, name="other")
        request = replace(REQUEST, tools=(ADD, other), tool_choice=choice)
        _, _, server = await self.ask(self.says(Said()), request)
        asked = server.asked[0]
        heard = self.wire.heard(asked.path, asked.headers, asked.json)
        if self.wire.can_force_tools:
            assert heard.choice == choice
        else:
            offered = {"none": [], "add": ["add"]}.get(choice, ["add", "other"])
            assert list(heard.tools) == offered

    async def test_conversation_with_tools_goes_on(self) -> None:
        said = Said(("So.",), thinking=("hm",), signature="c2lnbmVk", calls=(CALL,), finish="tool_calls")
        first, _, _ = await self.ask(self.says(said), replace(REQUEST, tools=(ADD,)))
        result = Message("tool", '{"sum": 3}', tool_call_id="c1", images=(PICTURE,))
        request = replace(REQUEST, messages=(*REQUEST.messages, first.message(), result), tools=(ADD,))
        _, _, server = await self.ask(self.says(Said()), request)
        asked = server.asked[0]
        heard = self.wire.heard(asked.path, asked.headers, asked.json)
        assert {id: json.loads(text) for id, text in heard.results.items()} == {"c1": {"sum": 3}}
        assert heard.texts[:2] == ("Hello", "So.")
        assert [image.data for image in heard.images] == [PICTURE.data]
        assert heard.signature == (said.signature if self.wire.signs else "")

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, ModelError),
            (401, Refused),
            (402, Refused),
            (403, Refused),
            (404, UnknownName),
            (413, ModelError),
            (422, ModelError),
            (429, RateLimited),
            (500, ModelUnavailable),
            (503, ModelUnavailable),
            (529, ModelUnavailable),
        ],
    )
    async def test_status_becomes_an_error_with_the_servers_words(self, status: int, error: type) -> None:
        told = await self.refusal(self.refuses(status))
        assert type(told) is error
        assert "it said so" in f"{told} {told.hint}"

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry_After": "7"}, 7),
            ({"Retry_After": "1.5"}, 1.5),
            ({"retry_after_ms": "250"}, 0.25),
            ({"Retry_After": "Sat, 21 Nov 2026 12:00:30 GMT", "Date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 30),
            ({"Retry_After": "soon"}, None),
            ({}, None),
        ],
    )
    @pytest.mark.parametrize("status", [429, 503])
    async def test_servers_wish_to_wait_is_told(self, status: int, headers: dict[str, str], seconds: float) -> None:
        told = await self.refusal(self.refuses(status, **headers))
        assert isinstance(told, ModelUnavailable)
        assert told.retry_after_seconds == seconds

    async def test_wrong_key_names_the_variable_and_never_the_key(self) -> None:
        told = await self.refusal(self.refuses(401, f"bad key {KEY}"))
        assert isinstance(told, Refused)
        assert KEY_ENV in f"{told} {told.hint}"
        assert KEY not in f"{told} {told.hint} {told!r}"

    async def test_missing_key_is_told_before_anything_is_asked(self) -> None:
        async with LoopbackServer(self.refuses(401)) as server:
            model = self.make(server.url, key="")
            with pytest.raises(Refused, match=KEY_ENV):
                await model.reply(REQUEST)
            await model.close()
        assert not server.asked

    async def test_page_with_status_200_is_no_reply_and_says_what_came(self) -> None:
        async def play(exchange: Exchange) -> None:
            page = b"<!doctype html><html><head><title>Sign in</title></head><body>please</body></html>"
            await exchange.whole(200, page, "text/html; charset=utf-8")

        told = await self.refusal(play)
        assert type(told) is ModelError
        assert "web page" in str(told) and "Sign in" in str(told)

    async def test_page_with_an_error_status_says_its_title(self) -> None:
        async def play(exchange: Exchange) -> None:
            await exchange.whole(502, b"<html><title>502 Bad Gateway</title><body>nginx</body></html>", "text/html")

        told = await self.refusal(play)
        assert type(told) is ModelUnavailable
        assert "Bad Gateway" in str(told) and "<" not in str(told)

    async def test_error_in_the_middle_is_no_reply(self) -> None:
        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in (*self.begins(), self.wire.broken_off("runner died")):
                await exchange.send(event)
            await exchange.end()

        told = await self.refusal(play)
        assert type(told) is ModelUnavailable
        assert "runner died" in str(told)

    @pytest.mark.parametrize("way", ["cut", "end", "half"])
    async def test_answer_without_its_end_is_no_reply(self, way: str) -> None:
        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.begins():
                await exchange.send(event)
            if way == "half":
                await exchange.send(self.begins()[-1][:-9])
            if way == "end":
                await exchange.end()
            else:
                await first.wait()
                exchange.cut()

        first = asyncio.Event()
        async with self.played(play) as (model, _):
            with pytest.raises(ModelUnavailable, match="broke off after 1 piece"):
                await model.reply(REQUEST, on_delta=lambda text: first.set())

    async def test_garbage_is_no_reply(self) -> None:
        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            await exchange.send(b"data: {]\n\n" if self.wire.has_comments else b"{]\n")
            await exchange.end()

        assert isinstance(await self.refusal(play), ModelError | ModelUnavailable)

    async def test_stalled_answer_is_given_up_whatever_keeps_the_connection_alive(self) -> None:
        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.begins():
                await exchange.send(event)
            while self.wire.has_comments:
                await exchange.send(b": keep-alive\n\n")
                await asyncio.sleep(0.02)
            await exchange.hung_up()

        told = await self.refusal(play, stall_seconds=0.2)
        assert isinstance(told, ModelUnavailable)
        assert "sent nothing for 0.2 s after 1 piece" in str(told)

    async def test_server_that_never_begins_is_given_up(self) -> None:
        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.begins()[:-1]:
                await exchange.send(event)
            await exchange.hung_up()

        told = await self.refusal(play, first_token_seconds=0.2)
        assert isinstance(told, ModelUnavailable)
        assert "sent nothing for 0.2 s after 0 piece" in str(told)

    async def test_cancelling_closes_the_connection(self) -> None:
        begun, closed = asyncio.Event(), asyncio.Event()

        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.begins():
                await exchange.send(event)
            await exchange.hung_up()
            closed.set()

        async with self.played(play) as (model, _):
            task = asyncio.create_task(model.reply(REQUEST, on_delta=lambda text: begun.set()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(5):
                await closed.wait()

    async def test_error_of_the_listener_is_the_callers_and_ends_the_request(self) -> None:
        closed = asyncio.Event()

        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.begins():
                await exchange.send(event)
            await exchange.hung_up()
            closed.set()

        def listen(text: str) -> None:
            raise ValueError(text)

        async with self.played(play) as (model, _):
            with pytest.raises(ValueError, match="Hel"):
                await model.reply(REQUEST, on_delta=listen)
            async with asyncio.timeout(5):
                await closed.wait()

    async def test_nobody_listening_is_unreachable(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            model = self.make(f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(ModelUnavailable, match="was not reached"):
                await model.reply(REQUEST)
            await model.close()

    async def test_call_that_is_cut_off_by_max_tokens_is_not_taken_for_a_call(self) -> None:
        if self.wire.name in ("ollama", "gemini"):
            pytest.skip("it sends calls whole")

        async def play(exchange: Exchange) -> None:
            exchange.begin(content_type=self.wire.content_type)
            for event in self.wire.stream(Said((), calls=(CALL,), finish="length")):
                if b"note" not in event:
                    await exchange.send(event)
            await exchange.end()

        told = await self.refusal(play)
        assert isinstance(told, BrokenAnswer)
        assert "max_tokens" in str(told)
        assert told.reply.usage == Usage(7, 2), "it was paid for"

    async def test_answers_at_the_same_time_do_not_mix(self) -> None:
        async def play(exchange: Exchange) -> None:
            heard = self.wire.heard(exchange.path, exchange.headers, exchange.json)
            await self.says(Said(tuple(f"{heard.texts[0]}.{n} " for n in range(20))))(exchange)

        async def one(model: Model, number: int) -> None:
            reply = await model.reply(replace(REQUEST, messages=(Message("user", str(number)),)))
            assert reply.text == "".join(f"{number}.{n} " for n in range(20))

        async with self.played(play) as (model, _):
            await asyncio.gather(*(one(model, number) for number in range(50)))
