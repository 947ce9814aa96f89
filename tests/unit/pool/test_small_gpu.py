"""The small-GPU promise: six models share 4 GB, the orchestrator always answers, small work runs side by side."""

from __future__ import annotations

import asyncio

from driver import GB, LoopbackServer, ask, entry
from test_pool import in_virtual_time

from treadle.pool.agents import default_config, parse_config
from treadle.pool.pool import Pool

SIZES = {
    "gemma3:270m": 0.5,
    "qwen3:0.6b": 0.7,
    "smollm2:135m": 0.2,
    "qwen3:1.7b": 1.5,
    "gemma3:4b": 2.8,
    "coder:3b": 2.9,
}
CONFIG = parse_config(
    {
        "memory_gb": 4.0,
        "pools": {
            "orchestrator": {"models": ["gemma3:270m"], "pinned": True, "interactive": True},
            "simple": {"models": ["smollm2:135m", "qwen3:0.6b"], "slots": 2},
            "medium": {"models": ["qwen3:1.7b", "gemma3:4b"], "slots": 2},
            "complex": {"models": ["coder:3b"]},
        },
    },
    "the test",
)


def test_six_models_share_four_gigabytes() -> None:
    async def work() -> None:
        server = LoopbackServer(SIZES, 16.0, answer_s=3.0)
        models = [entry(name, gb) for name, gb in SIZES.items()]
        pool = Pool({server.name: server}, models, CONFIG)
        assert await pool.open() == {}
        worst = 0.0

        async def orchestrate() -> None:
            nonlocal worst
            for _ in range(40):
                began = asyncio.get_running_loop().time()
                await pool.reply(ask("orchestrator"))
                worst = max(worst, asyncio.get_running_loop().time() - began)
                assert "gemma3:270m@served" in server.loaded
                assert sum(device.used for device in pool.now().devices) <= 4 * GB
                await asyncio.sleep(5)

        work = [pool.reply(ask("simple")) for _ in range(60)]
        work += [pool.reply(ask("medium")) for _ in range(15)]
        work += [pool.reply(ask("complex")) for _ in range(12)]
        work += [pool.reply(ask("gemma3:4b")) for _ in range(5)]
        work += [pool.reply(ask("qwen3:1.7b")) for _ in range(5)]
        await asyncio.gather(orchestrate(), *work)

        assert server.peak <= 4 * GB, "above the budget"
        assert len(server.answered) == 97 + 40
        assert server.loads.count("gemma3:270m@served") == 1, "the pinned model was loaded once, and stayed"
        assert worst <= 12, "the orchestrator waits for its own loading at most"
        assert server.most_running["coder:3b@served"] == 1, "complex tasks run in sequence"
        small = server.most_running["smollm2:135m@served"], server.most_running["qwen3:0.6b@served"]
        assert small == (2, 2), "simple tasks run in parallel, on both models"
        assert server.most_at_once >= 4
        assert len(server.loads) <= 12, "and models are not swapped in turn"
        await pool.close()
        kinds = {name: {line.kind for line in pool.log(name)} for name in CONFIG.pools}
        assert {"load", "loaded", "start", "finish"} <= kinds["simple"]
        assert {"load", "loaded", "start", "finish", "hold"} <= kinds["complex"]
        assert "evict" in kinds["medium"] and "evict" not in kinds["orchestrator"]

    in_virtual_time(work)


def test_the_shipped_set_up_fits_four_gigabytes_and_answers_everything() -> None:
    async def work() -> None:
        sizes = {"qwen2.5-coder:0.5b": 0.7, "qwen2.5-coder:1.5b": 1.6, "smollm2:135m": 0.4}
        server = LoopbackServer(sizes, 64.0)
        pool = Pool({server.name: server}, [entry(name) for name in sizes], default_config())
        await pool.open()
        await asyncio.gather(*(pool.reply(ask(name)) for name in pool.names() for _ in range(5)))
        assert server.peak <= 4 * GB and sorted(set(server.loads)) == sorted(server.sizes)
        assert len(server.loads) == 3

    in_virtual_time(work)
