"""The pool over a real driver: what reaches an Ollama when many ask for many models."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from treadle.domain.inventory import Gpu, Inventory, ModelEntry, Service
from treadle.domain.messages import Message, ModelRequest
from treadle.errors import ModelTooLarge
from treadle.models.drivers import server_of
from treadle.pool.agents import AgentPool, PoolConfig
from treadle.pool.pool import Pool
from treadle.settings import ModelSettings
from treadle.testing.loopback_http import Exchange, LoopbackServer
from treadle.testing.model_servers import ToyOllama

pytest.importorskip("ollama")

GB = 10**9
SIZES = {"coder:14b": 9, "coder:7b": 5, "general:8b": 5, "small:3b": 2, "tiny:1b": 1, "huge:70b": 40}


@dataclass(slots=True)
class Ollama(ToyOllama):
    """Answers too, and notes whatever a real one would have had to do by itself."""

    peak: int = 0
    answered: list[str] = field(default_factory=list)
    unloaded_asks: list[str] = field(default_factory=list)

    async def answer(self, exchange: Exchange, body: Any) -> None:
        if exchange.path == "/api/chat":
            name = body["model"]
            if name not in self.loaded:
                self.unloaded_asks.append(name)
            self.answered.append(name)
            text = {
                "model": name,
                "created_at": "2026-01-01T00:00:00Z",
                "message": {"role": "assistant", "content": "hi"},
            }
            end = {**text, "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
            exchange.begin(200, "application/x-ndjson")
            for part in ({**text, "done": False}, {**end, "prompt_eval_count": 3, "eval_count": 1}):
                await exchange.send(json.dumps(part).encode() + b"\n")
            await exchange.end()
        else:
            # The base class of a dataclass with slots is not what `super()` without arguments would find.
            await ToyOllama.answer(self, exchange, body)
        self.peak = max(self.peak, sum(self.sizes[name] for name in self.loaded))


async def test_an_ollama_is_told_what_to_load_and_is_never_asked_for_anything_else() -> None:
    toy = Ollama({name: gb * GB for name, gb in SIZES.items()})
    async with LoopbackServer(toy.play) as there:
        service = Service("box.ollama", "ollama", there.url, gpus=(Gpu("a card", 10.0),))
        entries = [ModelEntry(name, service.name, name, context=4096, size_gb=gb) for name, gb in SIZES.items()]
        inventory = Inventory(services={service.name: service}, models={entry.name: entry for entry in entries})
        server = server_of(service, inventory, ModelSettings(load_seconds=10))
        config = PoolConfig(pools={"orchestrator": AgentPool("orchestrator", ("tiny:1b",), pinned=True)})
        pool = Pool({service.name: server}, entries, config)
        assert await pool.open() == {}
        asked = [name for name in SIZES if name != "huge:70b"] * 6
        replies = await asyncio.gather(*(pool.reply(_ask(name)) for name in asked))
        with pytest.raises(ModelTooLarge, match=r"'huge:70b' takes 40\.0 GB"):
            await pool.reply(_ask("huge:70b"))
        await pool.close()
    assert [reply.model for reply in replies] == asked and {reply.text for reply in replies} == {"hi"}
    assert len(toy.answered) == 30 and toy.unloaded_asks == []
    assert toy.peak <= 10 * GB
    loads = [body["model"] for path, body in toy.asked if path == "/api/generate" and body["keep_alive"] == -1]
    assert len(loads) <= 6 and loads.count("tiny:1b") == 1
    assert "tiny:1b" in toy.loaded, "what is pinned stays"


def _ask(model: str) -> ModelRequest:
    return ModelRequest(model, (Message("user", "hello"),))
