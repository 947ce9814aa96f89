"""The live view, drawn into a string."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from treadle.cli.live import LiveView
from treadle.domain.events import (
    Event,
    LogWritten,
    ModelReplied,
    NodeFinished,
    Payload,
    RunFinished,
    RunStarted,
    TaskClaimed,
)

SPEC = msgspec.Raw(msgspec.json.encode({"nodes": [["write"], ["test"], ["fix"]]}))


class Log:
    """Makes events, one second apart."""

    def __init__(self) -> None:
        self.seq = 0

    def __call__(self, payload: Payload, activation: str | None = None, step: str | None = None) -> Event:
        self.seq += 1
        name = type(payload).__name__
        return Event(self.seq, 100.0 + self.seq, "r", activation, name, 1, "t", "p", payload, step)


@pytest.fixture
def view() -> LiveView:
    made = LiveView("a goal", console=Console(file=io.StringIO(), force_terminal=False, width=100), clock=lambda: 110.0)
    made.close()
    made._closed = False
    return made


def drawn(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(view.render())
    return capture.get()


def reply(tokens: int) -> ModelReplied:
    result = {"text": "x", "model": "m", "usage": {"input_tokens": 10, "output_tokens": tokens}}
    return ModelReplied("model", "d", result=msgspec.Raw(msgspec.json.encode(result)), seconds=2.0)


def test_nodes_are_rows_with_visits_tokens_and_what_they_said_last(view: LiveView) -> None:
    log = Log()
    view.event(log(RunStarted(spec=SPEC)))
    view.event(log(TaskClaimed("w", 1, 1), "write"))
    view.event(log(reply(30), "write", "write"))
    view.event(log(LogWritten("one of two"), "write"))
    view.event(log(NodeFinished("write", next=("test",), seconds=2.5), "write"))
    text = drawn(view)
    assert "✓  write" in text and "2.5s" in text and "40 tokens" in text and "one of two" in text
    assert "·  fix" in text and "15 tokens/s" in text


def test_a_second_visit_is_counted_in_the_same_row(view: LiveView) -> None:
    log = Log()
    view.event(log(RunStarted(spec=SPEC)))
    view.event(log(NodeFinished("write", next=("write#2",)), "write"))
    view.event(log(NodeFinished("write"), "write#2"))
    assert "write x2" in drawn(view)


def test_an_answer_being_written_is_shown_with_its_speed(view: LiveView) -> None:
    view.event(Log()(RunStarted(spec=SPEC)))
    for _ in range(10):
        view.emitted("tokens", "word ")
    assert "10 tokens" in drawn(view) and "… word word" in drawn(view)


def test_the_last_picture_shows_only_what_took_place(view: LiveView) -> None:
    log = Log()
    view.event(log(RunStarted(spec=SPEC)))
    view.event(log(NodeFinished("write"), "write"))
    view.event(log(RunFinished()))
    assert "fix" not in drawn(view)
