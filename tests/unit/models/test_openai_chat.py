"""The chat-completions adapter against a server on loopback."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from queue import SimpleQueue

import httpx2
import pytest

from treadle.domain.messages import Message, ModelReply, ModelRequest, ToolCall, ToolDefinition, Usage
from treadle.errors import ConfigError, ModelError, ModelUnavailable, RateLimited, Refused, TreadleError, UnknownName
from treadle.models import extras
from treadle.models.faults import Asked
from treadle.models.openai_chat import OpenAIChat
from treadle.models.streaming import Answer

openai = pytest.importorskip("openai")
REQUEST = ModelRequest(model="toy", messages=(Message("user", "Hello"),))


def chunk(delta: dict[str, object] | None = None, finish: str | None = None, **more: object) -> str:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta is not None else []
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "toy-1b", "choices": choices, **more}
    return f"data: {json.dumps(body)}\n\n"


def stream(*chunks: str, done: bool = True) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write("".join((*chunks, "data: [DONE]\n\n" if done else "")).encode())

    return answer


def refuse(status: int, message: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"error": {"message": message}}).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def ask(url: str, request: ModelRequest = REQUEST, **options: float) -> tuple[ModelReply, list[str]]:
    pieces: list[str] = []

    async def run() -> ModelReply:
        chat = OpenAIChat(f"{url}/v1", api_key="secret-key", trust_env=False, **options)
        try:
            return await chat.reply(request, on_delta=pieces.append)
        finally:
            await chat.close()

    return asyncio.run(run()), pieces


def test_text_arrives_in_pieces_and_once_more_as_a_whole(web):
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    web.answer = stream(
        chunk({"role": "assistant"}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        chunk(usage=usage),
    )
    reply, pieces = ask(web.url)
    assert pieces == ["Hel", "lo"]
    assert (reply.text, reply.finish_reason, reply.model) == ("Hello", "stop", "toy-1b")
    assert reply.usage == Usage(7, 2)
    assert reply.seconds > 0


def test_request_carries_everything_that_was_asked(web):
    web.answer = stream(chunk({"content": "{}"}, "stop"))
    call = ToolCall("c1", "add", {"a": 1})
    request = ModelRequest(
        model="toy",
        messages=(
            Message("user", "hi"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", "1", tool_call_id="c1"),
        ),
        tools=(ToolDefinition("add", "adds", {"type": "object"}),),
        max_tokens=5,
        seed=3,
        stop=("END",),
        json_schema={"type": "object"},
    )
    ask(web.url, request)
    body = json.loads(web.bodies[0])
    assert (body["max_tokens"], body["seed"], body["stop"], body["temperature"]) == (5, 3, ["END"], 0)
    assert body["stream_options"] == {"include_usage": True}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["tools"][0]["function"]["name"] == "add"
    assert json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"]) == {"a": 1}
    assert body["messages"][2]["tool_call_id"] == "c1"
    assert web.headers[0]["authorization"] == "Bearer secret-key"


def test_tool_call_is_joined_from_its_pieces(web):
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a"'}}
    second = {"index": 0, "function": {"arguments": ": 1}"}}
    web.answer = stream(chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}), chunk({}, "tool_calls"))
    reply, _ = ask(web.url)
    assert reply.tool_calls == (ToolCall("c1", "add", {"a": 1}),)
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]"])
def test_tool_call_with_broken_arguments_is_no_reply(web, arguments):
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    web.answer = stream(chunk({"tool_calls": [call]}, "tool_calls"))
    with pytest.raises(ModelError, match="'add'"):
        ask(web.url)


def test_thinking_is_kept_apart_from_the_answer(web):
    web.answer = stream(chunk({"reasoning_content": "hmm"}), chunk({"content": "42"}, "stop"))
    reply, pieces = ask(web.url)
    assert (reply.thinking, reply.text, pieces) == ("hmm", "42", ["42"])


def test_answer_cut_off_by_its_limit_says_so(web):
    web.answer = stream(chunk({"content": "To be contin"}, "length"))
    assert ask(web.url)[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "the request exceeds the available context size", ModelError),
        (401, "bad key", Refused),
        (403, "not yours", Refused),
        (404, "no such model", UnknownName),
        (409, "conflict", ModelUnavailable),
        (422, "strange", ModelError),
        (429, "slow down", RateLimited),
        (500, "oops", ModelUnavailable),
        (503, "loading", ModelUnavailable),
    ],
)
def test_status_becomes_an_error_of_ours_with_the_servers_words(web, status, message, error):
    web.answer = refuse(status, message)
    with pytest.raises(error) as told:
        ask(web.url)
    assert type(told.value) is error
    assert message in f"{told.value} {told.value.hint}"
    assert len(web.asked) == 1, "it was asked again, which costs again"


def test_every_exception_of_the_package_is_translated(web):
    chat = OpenAIChat(web.url)
    request = httpx2.Request("POST", web.url)
    for name, kind in inspect.getmembers(openai, inspect.isclass):
        if issubclass(kind, openai.OpenAIError):
            raised = kind.__new__(kind)
            Exception.__init__(raised, name)
            raised.request, raised.body, raised.status_code = request, None, 418
            told = asyncio.run(chat._translated(raised, Asked("toy", "openai", web.url), Answer()))
            assert isinstance(told, TreadleError), name
    asyncio.run(chat.close())


def test_nobody_listening_is_unreachable(free_port):
    with pytest.raises(ModelUnavailable, match="was not reached"):
        ask(f"http://127.0.0.1:{free_port}")


def test_stream_that_ends_without_a_finish_is_no_reply(web):
    web.answer = stream(chunk({"content": "Hel"}), done=False)
    with pytest.raises(ModelUnavailable, match="broke off after 1 piece"):
        ask(web.url)


def test_connection_cut_in_the_middle_is_no_reply(web):
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(chunk({"content": "Hel"}).encode())

    web.answer = cut
    with pytest.raises(ModelUnavailable, match="broke off after 1 piece"):
        ask(web.url)


def test_answer_that_is_no_event_stream_is_no_reply(web):
    web.answer = stream("data: {not json\n\n")
    with pytest.raises(ModelError, match="no reply"):
        ask(web.url)


def stalling(first: str, gone: SimpleQueue[bytes]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Send something, then nothing but keep-alive comments; note when the client hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        handler.wfile.write(first.encode() + b": ping\n\n")
        handler.wfile.flush()
        handler.connection.settimeout(10)
        gone.put(handler.connection.recv(1))

    return answer


def test_stalled_answer_is_given_up_and_the_connection_closed(web):
    gone: SimpleQueue[bytes] = SimpleQueue()
    web.answer = stalling(chunk({"content": "Hel"}), gone)
    with pytest.raises(ModelUnavailable, match=r"sent nothing for 0\.2 s after 1 piece"):
        ask(web.url, stall_seconds=0.2)


def test_server_that_never_begins_is_given_up(web):
    web.answer = stalling(chunk({"role": "assistant", "content": ""}), SimpleQueue())
    with pytest.raises(ModelUnavailable, match=r"sent nothing for 0\.2 s after 0 piece"):
        ask(web.url, first_token_seconds=0.2)


def test_cancelling_closes_the_connection(web):
    gone: SimpleQueue[bytes] = SimpleQueue()
    web.answer = stalling(chunk({"content": "Hel"}), gone)

    async def cancel_after_the_first_piece() -> None:
        chat = OpenAIChat(f"{web.url}/v1", trust_env=False)
        arrived = asyncio.Event()
        task = asyncio.create_task(chat.reply(REQUEST, on_delta=lambda text: arrived.set()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.get, True, 5) == b"", "the server still waits"
        await chat.close()

    asyncio.run(cancel_after_the_first_piece())


def test_missing_package_is_explained_with_the_command(monkeypatch):
    with pytest.raises(ConfigError) as told:
        extras.require("a_package_that_is_not_there", "local")
    assert 'pip install "treadle[local]"' in told.value.hint
