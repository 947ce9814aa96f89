"""What servers said of their tools when they were first used: a definition that changes later may be a trap."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from treadle.errors import ConfigError
from treadle.ports.tool import Offer
from treadle.settings import McpServer

FILE = "mcp-tools.json"
_CHANGED = "it is not what it was when it was first used: look at it, then `treadle tools accept {}`"


class SeenTools:
    """A file of a project with the digest of each tool. Processes may share it."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the project's `.treadle`; where it is missing, nothing is kept."""
        self._file = folder / FILE

    def marked(self, server: McpServer, offers: Sequence[Offer]) -> list[Offer]:
        """The offers; people are asked before calls of those that changed.

        Raises:
            ConfigError: The file cannot be read.
        """
        known = self._read().get(_key(server), {})
        return [
            self._marked(server, offer) if known.get(offer.tool, offer.digest) != offer.digest else offer
            for offer in offers
        ]

    def keep(self, server: McpServer, offers: Sequence[Offer], *, anew: bool = False) -> None:
        """Keep what is new; with `anew` also what changed, and nothing else. Does nothing without the folder.

        Raises:
            ConfigError: The file cannot be read or written.
        """
        if not self._file.parent.is_dir():
            return
        seen = self._read()
        known = {} if anew else seen.get(_key(server), {})
        kept = {**{offer.tool: offer.digest for offer in offers}, **known}
        if seen.get(_key(server)) != kept:
            self._write({**seen, _key(server): kept})

    def _marked(self, server: McpServer, offer: Offer) -> Offer:
        how = "deny" if offer.approve == "deny" else "ask"
        return replace(offer, approve=how, note=_CHANGED.format(server.name))  # type: ignore[arg-type]

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            found: Any = json.loads(self._file.read_text("utf-8"))
            return {str(key): dict(tools) for key, tools in found.items()}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            what = f"{self._file} cannot be read ({error}), so nobody knows whether tools of MCP servers changed."
            raise ConfigError(what, hint="Remove it to take the tools as they are now.") from None

    def _write(self, seen: dict[str, dict[str, str]]) -> None:
        draft = self._file.with_name(f"{FILE}.{secrets.token_hex(4)}")
        try:
            draft.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n")
            os.replace(draft, self._file)
        except OSError as error:
            raise ConfigError(f"{self._file} cannot be written: {error.strerror}.") from None


def _key(server: McpServer) -> str:
    """A server that is started or reached otherwise is another one."""
    way = json.dumps([server.command, server.args, server.url])
    return f"{server.name}:{hashlib.sha256(way.encode()).hexdigest()[:12]}"
