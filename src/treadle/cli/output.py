"""What reaches the terminal: data on stdout, everything else on stderr. How things look is decided here only."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it, what changes the order of what it shows, and what it cannot be sent."""
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STATE_STYLES = {
    "done": "green",
    "solved": "green",
    "unsolved": "red",
    "running": "cyan",
    "leased": "cyan",
    "error": "red",
    "failed": "red",
    "cancelled": "yellow",
    "waiting": "yellow",
    "serving": "green",
    "draining": "yellow",
    "silent": "red",
}


_OWN = re.compile("(\x1b\\[(?:0|" + "|".join(_CODES.values()) + ")m)")
_CLEAR = "\x1b[H\x1b[2J"


def plain(text: str) -> str:
    """The text with what terminals obey spelt out: most of what we show was said by a model or a program.

    In JSON it means the same as before.
    """
    text = text.replace("\r\n", "\n")
    return _UNSAFE.sub(lambda found: _spelt(ord(found[0])), text) if _UNSAFE.search(text) else text


def _spelt(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def _safe(text: str, stream: TextIO) -> str:
    """Plain but for our own colours, where there are any."""
    if "\x1b" not in text or not has_color(stream):
        return plain(text)
    return "".join(part if number % 2 else plain(part) for number, part in enumerate(_OWN.split(text)))


def data(text: str) -> None:
    """Write one line of data, at once."""
    sys.stdout.write(_safe(text, sys.stdout) + "\n")
    sys.stdout.flush()


def clear() -> None:
    """Empty the terminal that stdout is."""
    sys.stdout.write(_CLEAR)


def piece(text: str) -> None:
    """Write a part of a line that comes in pieces, on stderr, at once."""
    sys.stderr.write(plain(text))
    sys.stderr.flush()


def data_json(value: Any, *, pretty: bool = False) -> None:
    """Write one JSON value: one line, or indented."""
    import msgspec

    encoded = msgspec.json.encode(value, enc_hook=str)
    data((msgspec.json.format(encoded, indent=2) if pretty else encoded).decode())


def note(text: str = "") -> None:
    """Say something about progress."""
    sys.stderr.write(_safe(text, sys.stderr) + "\n")
    sys.stderr.flush()


def error(message: str, hint: str = "") -> None:
    """Say what went wrong, in one line, and what to do about it, in another."""
    first, *more = message.strip().splitlines() or ["unknown error"]
    note(f"{styled('error:', 'red', sys.stderr)} {first}")
    for line in more:
        note(line)
    if hint:
        note(f"{styled('hint:', 'cyan', sys.stderr)} {hint}")


def has_color(stream: TextIO) -> bool:
    from treadle.settings import wants_no_color

    return stream.isatty() and not wants_no_color()


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Colour a text, where the stream is a terminal that wants it."""
    if not style or not has_color(stream or sys.stdout):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def state(name: str, stream: TextIO | None = None, *, width: int = 0) -> str:
    """The name of a run's or task's state in its colour."""
    return styled(name.ljust(width), _STATE_STYLES.get(name, ""), stream)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Write aligned columns; the last one is not padded. A column called STATE or STATUS is coloured."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in cells)]) for i, head in enumerate(headers)]
    data(styled(_line(headers, headers, widths, right), "dim"))
    for row in cells:
        data(_line(row, headers, widths, right, colored=True))


def _line(
    row: Sequence[str], headers: Sequence[str], widths: Sequence[int], right: Sequence[str], *, colored: bool = False
) -> str:
    parts = []
    for i, cell in enumerate(row):
        head = headers[i]
        padded = cell.rjust(widths[i]) if head in right else cell.ljust(widths[i])
        parts.append(state(cell, width=widths[i]) if colored and head in ("STATE", "STATUS") else padded)
    return "  ".join(parts).rstrip()


def clip(text: str, width: int) -> str:
    """One line, no longer than so."""
    flat = plain(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"


def clip_end(text: str, width: int) -> str:
    """One line as it is laid out, no longer than so: on a terminal, a longer one could not be drawn over."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def columns(stream: TextIO) -> int:
    """How wide the terminal behind a stream is; 80 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def duration(seconds: float | None) -> str:
    """`0.4s`, `12s`, `3m05s`, `2h10m`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def ago(at: float) -> str:
    """How long ago, in words."""
    seconds = max(0.0, time.time() - at)
    for limit, unit, size in ((60, "s", 1), (3600, "m", 60), (86400, "h", 3600)):
        if seconds < limit:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds // 86400)}d ago"


def moment(at: float) -> str:
    """Day and time, in the user's own zone."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(at))


def clock(at: float) -> str:
    """The time of day, in the user's own zone."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def tokens(count: int) -> str:
    return f"{count:,}"


def cost(dollars: float) -> str:
    return "-" if not dollars else f"${dollars:.4f}"
