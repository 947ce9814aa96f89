"""How things look: widths, units, colours only where they belong."""

from __future__ import annotations

import io

import pytest

from treadle.cli import output


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


def test_an_error_is_one_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    output.error("Graph 'x' has problems:\n  - one", "Mend it.")
    assert capsys.readouterr().err == "error: Graph 'x' has problems:\n  - one\nhint: Mend it.\n"
