"""How much memory a GGUF model takes when llama.cpp has loaded it, told from the header of its file.

Weights are as large as the file. The context (KV cache) follows from the layers. What llama.cpp needs besides was
measured (`bench/memory.py`) and is rounded up: an estimate may be too high, and must not be too low.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_ELEMENT_BYTES = 2
"""Of the KV cache, f16."""
_BATCH = 512
"""Tokens that llama.cpp computes at once."""
_PROCESS_BYTES = 48 << 20
_VOCABULARY_BYTES = 512
"""Of the tokenizer and of the logits, per token that it knows."""
_UNKNOWN_SHARE = 1.2
"""Of its file, where the header says nothing that is understood."""
_PROMPT_CACHE_BYTES = 512 << 20
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_WINDOW_PARTS = 4096


@dataclass(frozen=True, slots=True)
class Shape:
    """What the header of a model file says about its size."""

    architecture: str
    weights_bytes: int
    """All parts of the file together."""
    kv_bytes_per_token: int
    """An upper bound: layers with a sliding window are counted in full."""
    activation_bytes_per_token: int
    vocabulary: int
    context: int
    """The longest that the model was trained for; 0: not said."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of a loaded model, in bytes."""

    weights: int
    context: int
    """The KV cache of all slots."""
    prompt_cache: int
    """What llama.cpp may keep of earlier prompts."""
    other: int

    @property
    def total(self) -> int:
        return self.weights + self.context + self.prompt_cache + self.other


def prompt_cache_bytes(path: Path, context: int) -> int:
    """How much of earlier prompts is worth keeping: as many tokens as one slot has. Raises OSError."""
    shape = _of(path)
    return 0 if shape is None else min(_PROMPT_CACHE_BYTES, shape.kv_bytes_per_token * context)


def loaded(path: Path, *, context: int, parallel: int) -> Footprint:
    """Estimate what the model takes as the model host loads it. Raises OSError."""
    cache = prompt_cache_bytes(path, context)
    return footprint(path, context=context, parallel=parallel, prompt_cache_bytes=cache)


def footprint(path: Path, *, context: int, parallel: int, prompt_cache_bytes: int) -> Footprint:
    """Estimate what the model takes with `parallel` slots of `context` tokens each, and a prompt cache of this size.

    A damaged file is estimated by its size.

    Raises:
        OSError: There is no such file.
    """
    shape = _of(path)
    if shape is None:
        return Footprint(int(path.stat().st_size * _UNKNOWN_SHARE), 0, 0, _PROCESS_BYTES)
    slot = shape.kv_bytes_per_token * context
    other = _PROCESS_BYTES + shape.vocabulary * _VOCABULARY_BYTES + shape.activation_bytes_per_token * _BATCH
    return Footprint(shape.weights_bytes, slot * parallel, prompt_cache_bytes, other)


def _of(path: Path) -> Shape | None:
    found = path.stat()
    return read(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def read(path: Path, size: int, mtime_ns: int) -> Shape | None:
    """Read the header of a file of this size and time; None if it is not understood."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _shape(_Header(data).values, _weights_bytes(path, size))
    except (OSError, ValueError, TypeError, struct.error, RecursionError, OverflowError):
        return None


class _Header:
    """The key-value pairs of a GGUF file. Of an array only its numbers are kept, or its length where it is long."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = len(_MAGIC)
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("no GGUF file")
        version, _tensors, pairs = self._number("<I"), self._number("<Q"), self._number("<Q")
        if version < 2:
            raise ValueError("an old kind of GGUF file")
        self.values: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._text()
            self.values[key] = self._value(self._number("<I"))

    def _number(self, form: str) -> Any:
        found = struct.unpack_from(form, self._data, self._at)[0]
        self._at += struct.calcsize(form)
        return found

    def _text(self) -> str:
        length = self._number("<Q")
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("it ends in the middle of a text")
        return self._data[start : self._at].decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text()
        return self._array() if kind == _ARRAY else self._number(_FORMATS[kind])

    def _array(self) -> Any:
        kind, length = self._number("<I"), self._number("<Q")
        if kind == _ARRAY:
            for _ in range(length):
                self._array()
        elif kind == _STRING:
            unpack, data, at = struct.Struct("<Q").unpack_from, self._data, self._at
            for _ in range(length):
                at += 8 + unpack(data, at)[0]
            self._at = at
        elif length <= _WINDOW_PARTS:
            return [self._number(_FORMATS[kind]) for _ in range(length)]
        else:
            self._at += struct.calcsize(_FORMATS[kind]) * length
        return length


def _shape(values: dict[str, Any], weights_bytes: int) -> Shape:
    architecture = str(values["general.architecture"])

    def number(key: str, default: int = 0) -> int:
        found = values.get(f"{architecture}.{key}", default)
        return int(max(found) if isinstance(found, list) else found)

    layers, width, heads = number("block_count"), number("embedding_length"), number("attention.head_count")
    of_a_head = width // heads if heads else 0
    both = number("attention.key_length", of_a_head) + number("attention.value_length", of_a_head)
    groups = values.get(f"{architecture}.attention.head_count_kv", heads)
    of_layers = sum(groups) if isinstance(groups, list) else int(groups) * layers
    tokens = values.get("tokenizer.ggml.tokens", 0)
    feed_forward = max(number("feed_forward_length"), number("expert_feed_forward_length"))
    return Shape(
        architecture=architecture,
        weights_bytes=weights_bytes,
        kv_bytes_per_token=of_layers * both * _ELEMENT_BYTES,
        activation_bytes_per_token=4 * (3 * feed_forward + 6 * width),
        vocabulary=tokens if isinstance(tokens, int) else len(tokens),
        context=number("context_length"),
    )


def _weights_bytes(path: Path, size: int) -> int:
    """Add up the parts of a file that is split: `NAME-00001-of-00003.gguf`."""
    if (found := _PART.search(path.name)) is None:
        return size
    stem, count = path.name[: found.start()], int(found[2])
    parts = [path.with_name(f"{stem}-{part:05}-of-{count:05}.gguf") for part in range(1, min(count, 999) + 1)]
    return sum(part.stat().st_size for part in parts if part.is_file())
