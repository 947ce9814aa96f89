"""What embedded models are reckoned to take, beside what their processes really take at most.

Each is loaded as the model host loads it, and asked several times in every slot with prompts that fill most of it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from treadle.domain.messages import Message, ModelRequest
from treadle.errors import TreadleError
from treadle.models.adapters.embedded import EmbeddedModel
from treadle.models.files import gguf
from treadle.models.files.catalog import locate
from treadle.models.hosts import host
from treadle.settings import ModelSettings, load_settings

CASES = (
    ("smollm2:135m", 1024, 1),
    ("smollm2:135m", 8192, 2),
    ("qwen2.5-coder:0.5b", 1024, 1),
    ("qwen2.5-coder:0.5b", 4096, 2),
    ("qwen2.5-coder:1.5b", 1024, 1),
    ("qwen2.5-coder:1.5b", 4096, 2),
)
MIB = 1 << 20
ROUNDS = 3


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench memory", description=__doc__)
    parser.add_argument("--words", type=int, default=700, help="of each prompt, at most; long ones take minutes")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(argv)
    settings = replace(load_settings(Path.cwd()).model, threads=given.threads, memory_gb=1000.0)
    print("| model | slots x context | weights | context | prompts | other | reckoned | at most | error |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, context, parallel in CASES:
        with tempfile.TemporaryDirectory() as folder:
            own = replace(settings, runtime_dir=Path(folder), context=context, parallel=parallel)
            asyncio.run(_measure(name, own, min(given.words, context - 200)))
    return 0


async def _measure(name: str, settings: ModelSettings, words: int) -> None:
    file, model = locate(name, settings), EmbeddedModel(settings)
    reckoned = gguf.loaded(file.path, context=settings.context, parallel=settings.parallel)
    try:
        pid = (await host.ensure(file, settings)).pid
        for turn in range(ROUNDS):
            asked = (_prompt(name, f"{turn}.{slot}", words) for slot in range(settings.parallel))
            await asyncio.gather(*(model.reply(request) for request in asked))
        peak = _peak_bytes(pid)
    except TreadleError as error:
        print(f"| {name} | {settings.parallel} x {settings.context} | {error} |")
        return
    finally:
        await host.unload(settings)
        await model.close()
    parts = (reckoned.weights, reckoned.context, reckoned.prompt_cache, reckoned.other, reckoned.total, peak)
    figures = " | ".join(f"{part / MIB:.0f}" for part in parts)
    error_share = reckoned.total / peak - 1
    print(f"| {name} | {settings.parallel} x {settings.context} | {figures} | {error_share:+.1%} |", flush=True)


def _prompt(name: str, mark: str, words: int) -> ModelRequest:
    return ModelRequest(model=name, messages=(Message("user", f"{mark} " + "word " * words),), max_tokens=4)


def _peak_bytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
