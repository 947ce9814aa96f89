"""A provider on loopback, in a process of its own: answers "COUNT TAG" with so many pieces, each with the tag."""

from __future__ import annotations

import asyncio
import sys
from functools import lru_cache

from treadle.domain.messages import Usage
from treadle.testing.loopback_http import Exchange, LoopbackServer
from treadle.testing.wires import AnthropicWire, GeminiWire, OllamaWire, OpenAIWire, Said, Wire

WIRES: dict[str, Wire] = {wire.name: wire for wire in (OpenAIWire(), OllamaWire(), AnthropicWire(), GeminiWire())}


def piece(tag: str, number: int) -> str:
    return f"{tag}.{number} "


@lru_cache(maxsize=4)
def _events(name: str, count: int, tag: str) -> list[bytes]:
    said = Said(tuple(piece(tag, number) for number in range(count)), usage=Usage(5, count))
    return list(WIRES[name].stream(said))


async def serve(name: str) -> None:
    wire = WIRES[name]

    async def play(exchange: Exchange) -> None:
        heard = wire.heard(exchange.path, exchange.headers, exchange.json)
        count, tag = heard.texts[-1].split()
        exchange.begin(content_type=wire.content_type)
        for event in _events(name, int(count), tag):
            await exchange.send(event)
        await exchange.end()

    async with LoopbackServer(play) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until the benchmark closes it


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
