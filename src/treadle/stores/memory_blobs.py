"""Large bytes in the memory store, by content."""

from __future__ import annotations

import hashlib

from treadle.errors import NotFound


class Blobs:
    """See `ports.store.Blobs`."""

    def __init__(self) -> None:
        super().__init__()
        self._blobs: dict[str, bytes] = {}

    async def put_blob(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        self._blobs[digest] = data
        return digest

    async def get_blob(self, digest: str) -> bytes:
        try:
            return self._blobs[digest]
        except KeyError:
            raise NotFound(f"There is no blob {digest!r}.") from None
