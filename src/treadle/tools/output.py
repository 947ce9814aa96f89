"""What a model is shown of long or strange output. Pure."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours and cursor moves
    r"|[\]PX^_].*?(?:\x07|\x1b\\|$)"  # titles, links, device strings
    r"|[ -/]*[0-~])",
    re.DOTALL,
)
_CONTROLS = {code: None for code in [*range(32), *range(127, 160)] if code not in (9, 10)}
_OVERWRITTEN = re.compile(r"^.*\r(?=[^\n])", re.MULTILINE)


def printable(text: str) -> str:
    """The text without what only terminals understand: escape sequences, bells, lines that were drawn over."""
    if "\r" in text:
        text = _OVERWRITTEN.sub("", text.replace("\r\n", "\n"))
    text = _ESCAPES.sub("", text) if "\x1b" in text else text
    return text.translate(_CONTROLS).encode(errors="replace").decode()


def head_and_tail(text: str, limit: int) -> str:
    """At most `limit` characters: the beginning and the end, in whole lines where lines are not too long."""
    if len(text) <= limit:
        return text
    note = "\n[... {} characters in {} lines left out ...]\n"
    room = max(0, limit - len(note) - 16)
    head, tail = text[: room // 2], text[len(text) - (room - room // 2) :]
    if "\n" in head[len(head) // 2 :]:
        head = head[: head.rindex("\n")]
    if "\n" in tail[: len(tail) // 2]:
        tail = tail[tail.index("\n") + 1 :]
    middle = text[len(head) : len(text) - len(tail)]
    return (head + note.format(len(middle), middle.count("\n") + 1) + tail)[: max(limit, 0)]
