"""The Ollama adapter against a server on loopback that speaks its API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest

from treadle.domain.messages import Message, ModelReply, ModelRequest, ToolCall, ToolDefinition, Usage
from treadle.errors import ModelError, ModelUnavailable, UnknownName
from treadle.models.ollama import OllamaModel
from treadle.settings import ModelSettings

pytest.importorskip("ollama")
REQUEST = ModelRequest(model="toy:1b", messages=(Message("user", "Hello"),))


def lines(*parts: dict[str, object], status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-ndjson")
        handler.end_headers()
        handler.wfile.write("".join(json.dumps(part) + "\n" for part in parts).encode())

    return answer


def said(text: str, **more: object) -> dict[str, object]:
    return {"model": "toy:1b", "message": {"role": "assistant", "content": text}, "done": False, **more}


DONE = said("", done=True, done_reason="stop", prompt_eval_count=7, eval_count=2)


def ask(url: str, settings: ModelSettings, request: ModelRequest = REQUEST) -> tuple[ModelReply, list[str]]:
    pieces: list[str] = []

    async def run() -> ModelReply:
        model = OllamaModel(replace(settings, ollama_url=url))
        try:
            return await model.reply(request, on_delta=pieces.append)
        finally:
            await model.close()

    return asyncio.run(run()), pieces


def test_text_arrives_in_pieces_with_usage_at_the_end(web, model_settings):
    web.answer = lines(said("Hel"), said("lo"), DONE)
    reply, pieces = ask(web.url, model_settings)
    assert (reply.text, pieces, reply.usage, reply.finish_reason) == ("Hello", ["Hel", "lo"], Usage(7, 2), "stop")


def test_context_is_fixed_and_the_model_kept(web, model_settings):
    web.answer = lines(said("{}"), DONE)
    ask(web.url, model_settings, replace(REQUEST, json_schema={"type": "object"}, stop=("END",), max_tokens=9))
    body = json.loads(web.bodies[0])
    assert web.asked[0][0] == "/api/chat"
    assert body["options"]["num_ctx"] == model_settings.context
    assert (body["options"]["num_predict"], body["options"]["stop"]) == (9, ["END"])
    assert body["keep_alive"] == model_settings.idle_seconds
    assert body["format"] == {"type": "object"}


def test_tool_results_name_their_tool(web, model_settings):
    web.answer = lines(
        {
            **said(""),
            "message": {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2}}}],
            },
        },
        DONE,
    )
    call = ToolCall("c1", "add", {"a": 1})
    messages = (Message("assistant", "", tool_calls=(call,)), Message("tool", "1", tool_call_id="c1"))
    tools = (ToolDefinition("add", "adds", {"type": "object", "properties": {"a": {"type": "integer"}}}),)
    reply, _ = ask(web.url, model_settings, replace(REQUEST, messages=messages, tools=tools))
    body = json.loads(web.bodies[0])
    assert body["messages"][1]["tool_name"] == "add"
    assert body["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert reply.tool_calls == (ToolCall("call_0", "add", {"a": 2}),)
    assert reply.finish_reason == "tool_calls"


def test_unknown_model_offers_the_nearest_that_ollama_has(web, model_settings):
    missing, listed = lines({"error": "model 'toy:1b' not found"}, status=404), {"models": [{"model": "toy:2b"}]}
    web.answer = lambda handler: (lines(listed) if handler.path == "/api/tags" else missing)(handler)
    with pytest.raises(UnknownName) as told:
        ask(web.url, model_settings)
    assert "toy:2b" in told.value.hint


@pytest.mark.parametrize(("status", "error"), [(400, ModelError), (500, ModelUnavailable), (503, ModelUnavailable)])
def test_status_becomes_an_error_of_ours(web, model_settings, status, error):
    web.answer = lines({"error": "it said so"}, status=status)
    with pytest.raises(error, match="it said so"):
        ask(web.url, model_settings)


def test_error_in_the_middle_is_no_reply(web, model_settings):
    web.answer = lines(said("Hel"), {"error": "runner died"})
    with pytest.raises(ModelUnavailable, match="runner died"):
        ask(web.url, model_settings)


def test_stream_that_ends_early_is_no_reply(web, model_settings):
    web.answer = lines(said("Hel"))
    with pytest.raises(ModelUnavailable, match="broke off"):
        ask(web.url, model_settings)


def test_nobody_listening_is_unreachable(free_port, model_settings):
    with pytest.raises(ModelUnavailable, match="was not reached"):
        ask(f"http://127.0.0.1:{free_port}", model_settings)


def test_stalled_answer_is_given_up(web, model_settings):
    def stall(handler: BaseHTTPRequestHandler) -> None:
        lines(said("Hel"))(handler)
        handler.wfile.flush()
        handler.connection.settimeout(10)
        handler.connection.recv(1)

    web.answer = stall
    with pytest.raises(ModelUnavailable, match="sent nothing"):
        ask(web.url, replace(model_settings, stall_seconds=0.2))
