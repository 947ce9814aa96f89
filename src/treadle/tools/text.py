"""The text of a file: decoded for a model, and encoded again so that what was not changed stays byte for byte. Pure."""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from treadle.errors import Refused

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LOOKED_AT = 8192
_CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r\b\x1b"))
"""What no text has in it, unless it is UTF-8."""


@dataclass(frozen=True, slots=True)
class FileText:
    """A text file with what has to be kept: its encoding, the mark at its beginning, and the ends of its lines."""

    raw: str
    """As in the file, with the line ends that it has."""
    encoding: str = "utf-8"
    mark: bytes = b""

    @property
    def text(self) -> str:
        """With `\\n` at the end of each line."""
        return self.raw.replace("\r\n", "\n")

    @property
    def newline(self) -> str:
        """The line end that most lines have."""
        windows = self.raw.count("\r\n")
        return "\r\n" if windows > self.raw.count("\n") - windows else "\n"

    def replaced(self, spans: Sequence[tuple[int, int, str]]) -> FileText:
        """With parts of `text` replaced: `(start, end, new)`, in order and apart. New lines end as those around."""
        windows = _windows_newlines(self.raw)
        parts, at = [], 0
        for start, end, new in spans:
            first, last = start + bisect_left(windows, start), end + bisect_left(windows, end)
            old = self.raw[first:last]
            newline = FileText(old).newline if "\n" in old else self.newline
            parts += [self.raw[at:first], new.replace("\n", newline)]
            at = last
        return replace(self, raw="".join([*parts, self.raw[at:]]))

    def encode(self) -> bytes:
        """The bytes of the file.

        Raises:
            Refused: The encoding of the file has no such character.
        """
        try:
            return self.mark + self.raw.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = error.object[error.start]
            raise Refused(
                f"The file is {self.encoding}, which has no {character!r}; nothing was changed.",
                hint="Use another character, or write the whole file anew, as UTF-8.",
            ) from None


def decode(data: bytes, path: str) -> FileText:
    """Read the bytes of a text file: UTF-8, UTF-16 with a mark, or else Windows-1252 or Latin-1, which keep every byte.

    Raises:
        Refused: It is no text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return FileText(data[len(mark) :].decode(encoding), encoding, mark)
            except UnicodeDecodeError:
                break
    begin = data[:_LOOKED_AT]
    if b"\0" not in begin:
        with suppress(UnicodeDecodeError):
            return FileText(data.decode())
    if len(begin.translate(None, _CONTROLS)) < len(begin):
        raise Refused(f"{path!r} is a binary file of {len(data)} bytes.", hint="Only text can be read and edited.")
    with suppress(UnicodeDecodeError):
        return FileText(data.decode("cp1252"), "cp1252")
    return FileText(data.decode("latin-1"), "latin-1")


def _windows_newlines(raw: str) -> list[int]:
    """Where `\\r\\n` stands, in positions of the text that has `\\n` instead."""
    found: list[int] = []
    at = raw.find("\r\n")
    while at >= 0:
        found.append(at - len(found))
        at = raw.find("\r\n", at + 2)
    return found
