"""How things look: widths, units, colours only where they belong."""

from __future__ import annotations

import io

import pytest

from treadle.cli import output
from treadle.cli.models import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.04, "0.0s"), (9.96, "10.0s"), (12.4, "12s"), (61, "1m01s"), (3599.6, "1h00m"), (7260, "2h01m")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


def test_sizes_and_money() -> None:
    assert [output.size(n) for n in (0, 999, 1000, 491_400_064, 1_117_320_768)] == [
        "0 B",
        "999 B",
        "1 KB",
        "491 MB",
        "1.12 GB",
    ]
    assert output.cost(0) == "-" and output.cost(0.5) == "$0.5000"


def test_long_and_broken_lines_become_one_short_line() -> None:
    assert output.clip("a\n  b\tc", 10) == "a b c"
    assert output.clip("word " * 30, 12) == "word word w…"


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.styled("x", "red", Terminal()) == "\x1b[31mx\x1b[0m"
    assert output.styled("x", "red", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.styled("x", "red", Terminal()) == "x"


def test_a_table_is_aligned_and_ends_no_line_with_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("RUN", "TOKENS", ""), [("a", 5, "x"), ("bcd", 12_345, "")], right=("TOKENS",))
    assert capsys.readouterr().out == "RUN  TOKENS\na         5  x\nbcd   12345\n"


def test_a_progress_bar_stays_on_its_line_and_leaves_nothing_of_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    bar = ProgressBar()
    bar.show(100 << 20, 1 << 30, "fetching from " + "a long name " * 20)
    bar.show(1 << 30, 1 << 30, "verified")
    bar.close()
    first, last = terminal.getvalue().rstrip("\n").split("\r")[1:]
    assert len(first) == 79 and first.endswith("…")
    assert len(last) == 79 and last.startswith("[####################] 100%  1.07 GB of 1.07 GB  verified ")


def test_a_progress_bar_off_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar()
    for done in (0, 10, 20, 100):
        bar.show(done, 100, "fetching")
    bar.close()
    assert capsys.readouterr().err == "  0%  0 B of 100 B  fetching\n100%  100 B of 100 B  fetching\n"


def test_an_error_is_one_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    output.error("Graph 'x' has problems:\n  - one", "Mend it.")
    assert capsys.readouterr().err == "error: Graph 'x' has problems:\n  - one\nhint: Mend it.\n"
