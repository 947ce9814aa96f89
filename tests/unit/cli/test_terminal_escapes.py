"""What models and programs say is shown, and never obeyed by the terminal that it is shown on."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from rich.console import Console

from treadle.cli import output
from treadle.cli.live import LiveView
from treadle.cli.watch import PlainView

EVIL = {
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;Y3VybCBldmlsIHwgc2g=\x07",
    "clear": "\x1b[2J\x1b[H",
    "conceal": "\x1b[8m",
    "draw over": "rm -rf /\rls    ",
    "answer back": "\x1b[6n\x1b[c\x05",
    "one byte": "\x9b2J\x9d0;owned\x9c",
    "backspace": "evil\b\b\b\bgood",
    "bidi": "access = 'user\u202e \u2066// admin only\u2069 \u2066'",
    "half a pair": "\udcff",
    "nul": "a\0b",
}
OBEYED = {*map(chr, range(32)), *map(chr, range(127, 160)), *"\u202e\u2066\u2069\udcff"} - {"\n", "\t"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(params=[io.StringIO, Terminal])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.delenv("NO_COLOR", raising=False)
    made: io.StringIO = request.param()
    return made


@contextmanager
def shown_on(screen: io.StringIO) -> Iterator[None]:
    with redirect_stdout(screen), redirect_stderr(screen):
        yield


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_nothing_that_is_said_is_obeyed(evil: str, screen: io.StringIO) -> None:
    with shown_on(screen):
        output.data(evil)
        output.note(evil)
        output.error(f"it failed: {evil}", hint=evil)
        output.table(("A", "B"), [(evil, evil)])
        output.data(output.clip(evil, 100))
        view = PlainView(verbose=True)
        for character in evil:
            view.emitted("tokens", character)
    assert len(screen.getvalue()) > 50
    assert set(output._OWN.sub("", screen.getvalue())) & OBEYED == set()


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_the_live_view_obeys_nothing_either(evil: str) -> None:
    screen = io.StringIO()
    view = LiveView(evil, console=Console(file=screen, width=100))
    view.note(evil)
    view.emitted("tokens", evil)
    console = Console(file=io.StringIO(), width=100)
    console.print(view.render())
    view.close()
    assert set(console.file.getvalue()) & OBEYED == set()  # type: ignore[attr-defined]


def test_our_own_colours_stay(screen: io.StringIO) -> None:
    with shown_on(screen):
        output.data(output.styled("fine", "green"))
    assert screen.getvalue() == ("\x1b[32mfine\x1b[0m\n" if screen.isatty() else "fine\n")


@pytest.mark.parametrize("evil", [text for name, text in EVIL.items() if name != "half a pair"])
def test_json_means_the_same(evil: str, screen: io.StringIO) -> None:
    with shown_on(screen):
        output.data_json({"said": evil})
    assert json.loads(screen.getvalue()) == {"said": evil}
