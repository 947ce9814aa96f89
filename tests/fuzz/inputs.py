"""What targets make of the fuzzer's bytes: numbers from their end, texts from their beginning. So seeds can be read."""

from __future__ import annotations

import json
import sys
from typing import Any

SEPARATOR = "\n%%%\n"
"""Between the texts of one input."""


def text_of(data: Any) -> str:
    """All that is left, as text: with half characters where it is no UTF-8, as JSON of a model may have them."""
    return str(data.ConsumeBytes(sys.maxsize).decode("utf-8", "surrogateescape"))


def texts_of(data: Any, count: int) -> list[str]:
    """All that is left, as so many texts."""
    parts = text_of(data).split(SEPARATOR, count - 1)
    return parts + [""] * (count - len(parts))


def value_of(data: Any, words: list[str], depth: int = 3) -> Any:
    """A JSON-like value, built from choices; texts are `words`, or pieces of the input."""
    kind = data.ConsumeIntInRange(0, 9 if depth else 6)
    if kind == 0:
        return None
    if kind == 1:
        return data.ConsumeBool()
    if kind == 2:
        return data.ConsumeInt(8)
    if kind == 3:
        return data.ConsumeFloat()
    if kind in (4, 5):
        return data.PickValueInList(words)
    if kind == 6:
        return data.ConsumeUnicode(data.ConsumeIntInRange(0, 40))
    count = data.ConsumeIntInRange(0, 3)
    if kind == 7:
        return [value_of(data, words, depth - 1) for _ in range(count)]
    return {data.PickValueInList(words): value_of(data, words, depth - 1) for _ in range(count)}


def json_of(text: str) -> Any:
    """The text as JSON, or itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
