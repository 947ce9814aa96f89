"""Large bytes in the memory store, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from treadle.domain.events import Event, blob_of
from treadle.errors import NotFound


class Blobs:
    """See `ports.store.Blobs`."""

    def __init__(self) -> None:
        super().__init__()
        self._blobs: dict[str, bytes] = {}
        self._kept: set[str] = set()
        """Digests of those that nodes kept themselves."""

    async def put_blob(self, data: bytes) -> str:
        digest = self._lend(data)
        self._kept.add(digest)
        return digest

    def _lend(self, data: bytes) -> str:
        """Keep bytes as long as an event names them."""
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        return digest

    def _drop(self, gone: Iterable[Event], left: Iterable[Event]) -> None:
        """Let go of what only events that are gone name."""
        named = {blob_of(event.payload) for event in gone} - {None} - self._kept
        for digest in named - {blob_of(event.payload) for event in left} if named else ():
            self._blobs.pop(str(digest), None)

    async def get_blob(self, digest: str) -> bytes:
        try:
            return self._blobs[digest]
        except KeyError:
            raise NotFound(f"There is no blob {digest!r}.") from None
