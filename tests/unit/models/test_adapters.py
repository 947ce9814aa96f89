"""What each adapter does in its own way; what all do is in the conformance suite."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import openai
import pytest

from treadle.domain import codec
from treadle.domain.inventory import ModelEntry, Service
from treadle.domain.messages import Image, Message, ModelReply, ModelRequest, ToolCall, ToolDefinition, Usage
from treadle.errors import (
    BrokenAnswer,
    ConfigError,
    ModelError,
    ModelUnavailable,
    RateLimited,
    Refused,
    TreadleError,
    UnknownName,
)
from treadle.models import extras
from treadle.models.adapters import adapter_of
from treadle.models.adapters.anthropic import AnthropicModel
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.adapters.faults import Asked
from treadle.models.adapters.gemini import GeminiModel
from treadle.models.adapters.ollama import OllamaModel
from treadle.models.adapters.openai_chat import OpenAIChat
from treadle.models.adapters.streaming import Answer, StreamedModel
from treadle.ports.model import Model
from treadle.settings import ModelSettings
from treadle.testing.loopback_http import Exchange, LoopbackServer, Play
from treadle.testing.wires import AnthropicWire, GeminiWire, OllamaWire, OpenAIWire, Said, Wire

REQUEST = ModelRequest(model="toy-1b", messages=(Message("user", "Hello"),))
OPENAI, OLLAMA, ANTHROPIC, GEMINI = OpenAIWire(), OllamaWire(), AnthropicWire(), GeminiWire()


def sends(*events: bytes, content_type: str = "text/event-stream") -> Play:
    async def play(exchange: Exchange) -> None:
        exchange.begin(content_type=content_type)
        for event in events:
            await exchange.send(event)
        await exchange.end()

    return play


def says(wire: Wire, said: Said = Said()) -> Play:  # noqa: B008 - it is frozen
    return sends(*wire.stream(said), content_type=wire.content_type)


def sse(**data: Any) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse(id="1", object="chat.completion.chunk", created=1, model="toy-1b", choices=[choice])


async def ask(
    make: Callable[[str], Model], play: Play, request: ModelRequest = REQUEST
) -> tuple[ModelReply, dict[str, Any]]:
    """The reply, and the body that was asked with."""
    async with LoopbackServer(play) as server:
        model = make(server.url)
        try:
            reply = await model.reply(request)
            assert len(server.asked) == 1
            return reply, server.asked[0].json
        finally:
            await model.close()


def chat(url: str) -> OpenAIChat:
    return OpenAIChat(f"{url}/v1", api_key="k")


def ollama(url: str, **settings: Any) -> OllamaModel:
    return OllamaModel(ModelSettings(**settings), url=url)


def claude(url: str) -> AnthropicModel:
    return AnthropicModel(url=url, api_key="k")


def gemini(url: str) -> GeminiModel:
    return GeminiModel(url=url, api_key="k")


# -- chat completions --------------------------------------------------------------------------------------------------


def piece(arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": more.pop("name")} if "name" in more else {}
    return {"tool_calls": [{"function": {**name, "arguments": arguments}, **more}]}


@pytest.mark.parametrize("index", [{}, {"index": 0}, {"index": None}], ids=["no index", "always 0", "null"])
async def test_calls_of_servers_that_do_not_number_them_are_told_apart(index):
    deltas = [
        piece('{"a"', id="c1", name="add", **index),
        piece(": 1}", **index),
        piece('{"a"', id="c2", name="add", **index),
        piece(": 2}", **index),
    ]
    reply, _ = await ask(chat, sends(*map(chunk, deltas), chunk({}, "tool_calls"), b"data: [DONE]\n\n"))
    assert reply.tool_calls == (ToolCall("c1", "add", {"a": 1}), ToolCall("c2", "add", {"a": 2}))


async def test_call_without_an_id_gets_one():
    reply, _ = await ask(chat, sends(chunk(piece("{}", name="now", index=0)), chunk({}, "stop")))
    assert reply.tool_calls == (ToolCall("call_0", "now", {}),)
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]"])
async def test_call_with_broken_arguments_is_a_broken_answer_that_keeps_the_text(arguments):
    events = (chunk({"content": "So."}), chunk(piece(arguments, index=0, id="c1", name="add")), chunk({}, "tool_calls"))
    with pytest.raises(BrokenAnswer, match="'add'") as told:
        await ask(chat, sends(*events))
    assert told.value.broken == (("c1", "add", arguments),)
    assert told.value.reply.text == "So."


async def test_refusal_in_words_of_its_own_is_a_refusal():
    reply, _ = await ask(chat, sends(chunk({"refusal": "I will not."}), chunk({}, "stop")))
    assert reply.finish_reason == "refused"


async def test_whole_document_instead_of_a_stream_says_so():
    async def play(exchange: Exchange) -> None:
        await exchange.whole(200, b'{"error": {"message": "no streaming here"}}')

    with pytest.raises(ModelError, match=r"one JSON document.*no streaming here"):
        await ask(chat, play)


async def test_quota_that_is_used_up_is_no_rate_limit():
    async def play(exchange: Exchange) -> None:
        await exchange.whole(429, b'{"error": {"message": "exceeded", "code": "insufficient_quota"}}')

    with pytest.raises(Refused, match="exceeded"):
        await ask(chat, play)


async def test_every_exception_of_the_package_is_translated():
    model, request = OpenAIChat("http://127.0.0.1:9/v1"), httpx2.Request("POST", "http://127.0.0.1:9")
    for name, kind in inspect.getmembers(openai, inspect.isclass):
        if issubclass(kind, openai.OpenAIError):
            raised = kind.__new__(kind)
            Exception.__init__(raised, name)
            raised.request, raised.body, raised.status_code = request, None, 418
            told = await model._translated(raised, Asked("toy", "openai", ""), Answer())
            assert isinstance(told, TreadleError), name
    await model.close()


async def test_address_that_is_none_is_a_configuration_error():
    model = OpenAIChat("ftp://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="ftp"):
        await model.reply(REQUEST)
    await model.close()


def test_schema_is_strict_only_where_openai_would_take_it():
    closed = {"type": "object", "properties": {"x": {}}, "required": ["x"], "additionalProperties": False}
    for schema, is_strict in ((closed, True), ({"type": "object", "properties": {"x": closed}}, False)):
        arguments = OpenAIChat("http://127.0.0.1:9")._arguments(replace(REQUEST, json_schema=schema))
        assert arguments["response_format"]["json_schema"]["strict"] is is_strict


def test_openai_itself_is_asked_in_its_newer_way():
    arguments = OpenAIChat("https://api.openai.com/v1")._arguments(replace(REQUEST, thinking="off"))
    assert arguments["max_completion_tokens"] == REQUEST.max_tokens and "max_tokens" not in arguments
    assert "extra_body" not in arguments


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_goes_back_to_the_server_that_names_it_so_while_tools_are_called(field):
    async with LoopbackServer(
        sends(chunk({field: "hm"}), chunk(piece("{}", name="now", index=0)), chunk({}, "tool_calls"))
    ) as server:
        model = chat(server.url)
        first = await model.reply(REQUEST)
        assert first.thinking == "hm"
        server.play = says(OPENAI)
        after = (*REQUEST.messages, first.message(), Message("tool", "9", tool_call_id="call_0"))
        await model.reply(replace(REQUEST, messages=after))
        assert server.asked[1].json["messages"][1][field] == "hm"
        await model.close()
    _, body = await ask(chat, says(OPENAI), replace(REQUEST, messages=after))
    assert field not in body["messages"][1], "another server may refuse it"


async def test_argument_that_a_model_does_not_take_is_left_out_from_then_on():
    async def play(exchange: Exchange) -> None:
        if "temperature" in exchange.json:
            error = {"message": "does not support 0.0", "param": "temperature", "code": "unsupported_value"}
            await exchange.whole(400, json.dumps({"error": error}).encode())
        else:
            await says(OPENAI)(exchange)

    async with LoopbackServer(play) as server:
        model = chat(server.url)
        assert [(await model.reply(REQUEST)).text for _ in range(2)] == ["Hello", "Hello"]
        assert ["temperature" in exchange.json for exchange in server.asked] == [True, False, False]
        await model.close()


async def test_error_of_what_lies_behind_a_router_is_no_reply():
    events = (chunk({"content": "Hel"}), chunk({}, "error"))
    with pytest.raises(ModelUnavailable, match="broke off"):
        await ask(chat, sends(*events))


# -- Ollama ------------------------------------------------------------------------------------------------------------


async def test_context_is_the_models_own_and_the_model_is_kept():
    def make(url: str) -> OllamaModel:
        return OllamaModel(ModelSettings(context=512), url=url, contexts={"toy-1b": 2048}, keep_alive=-1)

    _, body = await ask(make, says(OLLAMA))
    assert (body["options"]["num_ctx"], body["keep_alive"]) == (2048, -1)
    _, body = await ask(lambda url: ollama(url, context=512, idle_seconds=7.0), says(OLLAMA))
    assert (body["options"]["num_ctx"], body["keep_alive"]) == (512, 7)


async def test_results_name_their_tool_although_ids_begin_anew_in_each_answer():
    turns = (
        Message("assistant", "", (ToolCall("call_0", "add", {}),), thinking="hm"),
        Message("tool", "1", tool_call_id="call_0"),
        Message("assistant", "", (ToolCall("call_0", "now", {}),)),
        Message("tool", "2", tool_call_id="call_0"),
    )
    _, body = await ask(ollama, says(OLLAMA), replace(REQUEST, messages=(*REQUEST.messages, *turns)))
    assert [message.get("tool_name") for message in body["messages"]] == [None, None, "add", None, "now"]
    assert body["messages"][1]["thinking"] == "hm"


@pytest.mark.parametrize(
    ("model", "level", "told"), [("qwen3", "low", True), ("qwen3", "off", False), ("gpt-oss:20b", "low", "low")]
)
async def test_thinking_is_asked_for_as_the_model_takes_it(model, level, told):
    _, body = await ask(ollama, says(OLLAMA), replace(REQUEST, model=model, thinking=level))
    assert body["think"] == told


async def test_unknown_model_offers_the_nearest_that_ollama_has():
    async def play(exchange: Exchange) -> None:
        if exchange.path == "/api/tags":
            await exchange.whole(200, b'{"models": [{"model": "toy-2b"}]}')
        else:
            await exchange.whole(404, b'{"error": "model not found"}')

    async with LoopbackServer(play) as server:
        model = ollama(server.url)
        with pytest.raises(UnknownName) as told:
            await model.reply(REQUEST)
        assert "toy-2b" in told.value.hint
        await model.close()


# -- Anthropic ---------------------------------------------------------------------------------------------------------


async def test_signed_thinking_goes_back_as_it_came_and_in_its_place():
    call = ToolCall("c1", "now", {})
    said = Said(("So.",), thinking=("h", "m"), signature="c2ln", calls=(call,), finish="tool_calls")
    reply, _ = await ask(claude, says(ANTHROPIC, said))
    after = (*REQUEST.messages, reply.message(), Message("tool", "9", tool_call_id="c1"))
    _, body = await ask(claude, says(ANTHROPIC), replace(REQUEST, messages=after))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "So."},
        {"type": "tool_use", "id": "c1", "name": "now", "input": {}},
    ]


async def test_answers_without_thinking_carry_nothing_opaque():
    assert (await ask(claude, says(ANTHROPIC)))[0].opaque is None


async def test_results_of_several_calls_stand_in_one_turn():
    calls = (ToolCall("c1", "now", {}), ToolCall("c2", "now", {}))
    results = tuple(Message("tool", "9", tool_call_id=call.id) for call in calls)
    messages = (*REQUEST.messages, Message("assistant", "", calls), *results)
    _, body = await ask(claude, says(ANTHROPIC), replace(REQUEST, messages=messages))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["c1", "c2"]


async def test_tokens_of_the_cache_are_input_tokens_too():
    reply, _ = await ask(claude, says(ANTHROPIC, Said(usage=Usage(100, 5, 70, 20))))
    assert reply.usage == Usage(100, 5, 70, 20)


async def test_effort_and_schema_stand_in_one_place():
    request = replace(REQUEST, thinking="high", json_schema={"type": "object", "properties": {}})
    _, body = await ask(claude, says(ANTHROPIC), request)
    assert body["thinking"]["type"] == "adaptive"
    assert set(body["output_config"]) == {"effort", "format"}


async def test_rate_limit_in_the_middle_is_one():
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    with pytest.raises(RateLimited, match="slow down"):
        await ask(claude, sends(b"event: error\n" + sse(**error)))


# -- Gemini ------------------------------------------------------------------------------------------------------------


async def test_malformed_call_is_a_broken_answer():
    candidate = {"finishReason": "MALFORMED_FUNCTION_CALL", "index": 0}
    with pytest.raises(BrokenAnswer, match="MALFORMED_FUNCTION_CALL"):
        await ask(gemini, sends(sse(candidates=[candidate])))


async def test_blocked_prompt_is_a_refusal():
    reply, _ = await ask(gemini, sends(sse(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={})))
    assert reply.finish_reason == "refused"


async def test_answer_that_wants_to_be_continued_is_not_continued_behind_our_back():
    candidate = {"content": {"parts": [{"text": "Once"}]}, "finishReason": "CONTINUATION", "continuationToken": "YQ=="}
    reply, _ = await ask(gemini, sends(sse(candidates=[candidate])))
    assert (reply.text, reply.finish_reason) == ("Once", "length")


async def test_wait_is_read_from_the_body_of_the_error():
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}]

    async def play(exchange: Exchange) -> None:
        body = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": details}}
        await exchange.whole(429, json.dumps(body).encode())

    with pytest.raises(RateLimited) as told:
        await ask(gemini, play)
    assert told.value.retry_after_seconds == 17.5


async def test_geminis_wrong_key_is_one_although_it_says_400():
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]

    async def play(exchange: Exchange) -> None:
        error = {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT", "details": details}
        await exchange.whole(400, json.dumps({"error": error}).encode())

    with pytest.raises(Refused, match="GEMINI_API_KEY"):
        await ask(gemini, play)


async def test_signature_of_a_text_goes_back_with_it():
    reply, _ = await ask(gemini, says(GEMINI, Said(("So.",), signature="c2ln")))
    _, body = await ask(gemini, says(GEMINI), replace(REQUEST, messages=(*REQUEST.messages, reply.message())))
    assert body["contents"][1]["parts"] == [{"text": "So.", "thoughtSignature": "c2ln"}]


async def test_gemini_is_never_asked_at_google_cloud(monkeypatch):
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", "other")
    await ask(gemini, says(GEMINI))


# -- from the inventory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "adapter", "url"),
    [
        ("llama_cpp", EmbeddedModel, ""),
        ("ollama", OllamaModel, "http://127.0.0.1:11434"),
        ("openai", OpenAIChat, "http://127.0.0.1:9/v1"),
        ("vllm", OpenAIChat, "http://127.0.0.1:9/v1"),
        ("llama_server", OpenAIChat, "http://127.0.0.1:9/v1"),
        ("anthropic", AnthropicModel, ""),
        ("gemini", GeminiModel, ""),
    ],
)
async def test_each_kind_of_service_has_its_adapter(kind, adapter, url):
    model = adapter_of(Service("s", kind, url), (), "k", ModelSettings())
    assert type(model) is adapter
    await model.close()


async def test_models_of_other_services_lend_no_context():
    models = (ModelEntry("a", "s", "toy-1b", context=4096), ModelEntry("b", "other", "toy-1b", context=1))
    _, body = await ask(lambda url: adapter_of(Service("s", "ollama", url), models, "", ModelSettings()), says(OLLAMA))
    assert body["options"]["num_ctx"] == 4096


async def test_key_that_is_missing_is_named_before_anything_is_asked():
    service = Service("s", "anthropic", "http://127.0.0.1:9", api_key_env="ANTHROPIC_API_KEY")
    model = adapter_of(service, (), "", ModelSettings())
    with pytest.raises(Refused, match="ANTHROPIC_API_KEY"):
        await model.reply(REQUEST)
    await model.close()


def test_missing_package_is_explained_with_the_command():
    with pytest.raises(ConfigError) as told:
        extras.require("a_package_that_is_not_there", "local")
    assert 'pip install "treadle[local]"' in told.value.hint


# -- requests ----------------------------------------------------------------------------------------------------------


def test_digest_of_a_request_is_that_of_earlier_releases():
    call = ToolCall("c", "add", {"a": [1, {"images": []}]})
    messages = (Message("system", "s"), Message("assistant", "", (call,)), Message("tool", "3", tool_call_id="c"))
    tools = (ToolDefinition("add", "d", {"type": "object"}),)
    request = ModelRequest("x", messages, tools, json_schema={"thinking": None}, stop=("E",))
    assert request.digest() == "3c2990d3e19504fcc8acadbc01a0b57f926376d92e36207accee10982c23b773"
    assert replace(request, tool_choice="none").digest() != request.digest()


def test_request_survives_the_journal():
    request = replace(
        REQUEST,
        messages=(
            Message("user", "What?", images=(Image("image/png", b"\x00\xff"),)),
            Message("assistant", "So.", (ToolCall("c", "now", {}),), thinking="hm", opaque={"anthropic": [{"n": 1}]}),
        ),
        tool_choice="required",
        thinking="low",
    )
    read = msgspec.convert(codec.decode(codec.encode(request.plain())), ModelRequest)
    assert read == request
    assert read.digest() == request.digest()


def test_every_adapter_reads_streams_in_one_way():
    assert all(issubclass(kind, StreamedModel) for kind in (OpenAIChat, OllamaModel, AnthropicModel, GeminiModel))
